"""Make a federation out of settings: data loaded and divided, model built, one initial model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from secure_fl import data, models, seeds
from secure_fl.data import Dataset, FederatedData
from secure_fl.errors import ConfigError, NotPermitted
from secure_fl.federation import Federation, class_counts
from secure_fl.files import canonical_json
from secure_fl.settings.schema import OBJECT, DataConfig, ExperimentConfig


def prepare(config: ExperimentConfig) -> Federation:
    """Load and divide the data, build the model; both depend on the settings and seed alone.

    Raises:
        SecureFLError: data that are missing or too few, or a model that does not fit them.
    """
    settings, seed = config.data, config.seed
    if OBJECT in (settings.name, config.model.name):
        raise ConfigError(
            "data and model were handed over in Python (data.name, model.name: object): these "
            "settings do not lead back to them"
        )
    loaded = data.load(settings.name, settings.path, config.extensions, **_options(settings))
    if loaded.multilabel and settings.balance:
        raise ConfigError(
            f"data.balance must be false for {loaded.name} with several labels a row: no repeating "
            "of rows makes all labels equally frequent"
        )
    dataset = _sample(loaded, settings.rows, seed)
    federated = data.partition(
        dataset,
        settings.hospitals,
        settings.alpha,
        settings.test_fraction,
        settings.validation_fraction,
        settings.validators,
        seeds.integer(seed, "partition"),
        minimum_rows=settings.minimum_rows,
        root_patients=settings.root_patients,
        scheme=settings.partition,
        classes_per_hospital=settings.classes_per_hospital,
        site=settings.site,
    )
    counts = class_counts(federated.hospitals, federated.classes)
    if settings.balance:
        balanced = [
            data.balance_classes(split, seeds.torch_generator(seed, "balance", i))
            for i, split in enumerate(federated.hospitals)
        ]
        federated = replace(federated, hospitals=balanced)
    _check_test(federated, settings)
    try:
        model = models.build(
            config.model.name,
            federated.feature_shape,
            federated.classes,
            config.model.params,
            config.extensions,
        )
    except NotPermitted:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"model {config.model.name!r} with params {config.model.params}: {error}"
        ) from error
    initial = model.init(seeds.torch_generator(seed, "model"))
    return Federation(federated, model, initial, data_hash(loaded), counts)


def _check_test(federated: FederatedData, settings: DataConfig) -> None:
    """Refuse test rows among which a class is missing, or where all or none have a label."""
    test = federated.test
    if federated.multilabel:
        share = test.y.double().mean(dim=0)
        for name, one in zip(federated.class_names, share.tolist(), strict=True):
            if not 0 < one < 1:
                which = "none" if one == 0 else "all"
                raise ConfigError(
                    f"the {len(test)} test rows must have some with {name} and some without; "
                    f"{which} have it: take more rows (data.rows, data.test_fraction)"
                )
        return
    present = len(test.y.unique())
    if present < federated.classes:
        which = "both classes" if federated.classes == 2 else f"all {federated.classes} classes"
        raise ConfigError(
            f"data.test_fraction must leave test rows of {which}; got {settings.test_fraction}, "
            f"which leaves {len(test.y)} rows of {present}"
        )


def _options(settings: DataConfig) -> dict[str, Any]:
    """What the loader is told beside the path: the settings that were given."""
    given = {
        key: getattr(settings, key)
        for key in ("label", "patient", "drop", "side", "task", "split")
        if getattr(settings, key) not in (None, [])
    }
    if settings.site is not None and "site" in data.options_of(settings.name):
        given["site"] = settings.site
    return given


def data_hash(dataset: Dataset) -> str:
    """SHA-256 over a data set's arrays and names, as 64 hexadecimal digits.

    Over canonical JSON of the names, types and shapes, then the bytes of x, y and group, and of the
    sites and the rows set aside for tests where the data have any.
    """
    arrays = [dataset.x, dataset.y, dataset.group]
    arrays += [each for each in (dataset.site, dataset.test) if each is not None]
    head = {
        "name": dataset.name,
        "kind": dataset.kind,
        "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
        "features": list(dataset.feature_names),
        "classes": list(dataset.class_names),
        "categories": {name: list(values) for name, values in dataset.categories.items()},
        **({} if dataset.site is None else {"sites": list(dataset.site_names)}),
        **({} if dataset.test is None else {"test": "set aside"}),
    }
    digest = hashlib.sha256(canonical_json(head).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _sample(dataset: Dataset, rows: int | None, seed: int) -> Dataset:
    """About `rows` rows of whole groups, chosen by the seed; all of them for None."""
    if rows is None or rows >= len(dataset.y):
        return dataset
    rng = seeds.numpy_generator(seed, "rows")
    groups, sizes = np.unique(dataset.group, return_counts=True)
    order = rng.permutation(len(groups))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), rows)) + 1
    kept = np.flatnonzero(np.isin(dataset.group, groups[order[:enough]]))
    return dataset.take(kept)
