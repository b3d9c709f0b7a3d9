"""The parties of an experiment before any attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from secure_fl import models, seeds
from secure_fl.data import FederatedData, Split
from secure_fl.data.arrays import arrays_hash, from_arrays
from secure_fl.errors import InputError, require
from secure_fl.extensions import is_own, load_extensions
from secure_fl.installed import resolve


@dataclass(frozen=True)
class Federation:
    """What every cell of a job shares.

    Attributes:
        data: splits of hospitals, validators and test.
        model: the network.
        initial: float32 (d,), the model before round 1.
        data_sha256: hash of the data set as loaded (`data_hash`).
        class_counts: rows of each class that each hospital has, before classes were balanced.
    """

    data: FederatedData
    model: models.Model
    initial: torch.Tensor
    data_sha256: str
    class_counts: tuple[tuple[int, ...], ...]

    @classmethod
    def from_arrays(
        cls,
        hospitals: Sequence[Any],
        root: Any,
        validators: Sequence[Any],
        test: Any,
        model: models.Model | nn.Module | Sequence[nn.Module] | str = "mlp",
        *,
        model_params: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        scale: bool = False,
    ) -> Federation:
        """A federation of data in memory.

        Args:
            hospitals: one (x, y) a hospital; arrays, tensors or data frames.
            root: (x, y), the validators' public rows: for root directions and calibration.
            validators: one (x, y) a validator.
            test: (x, y), which only the final metrics see.
            model: a name (`secure-fl list`; `module:name` is thereby permitted), a `Model`, any
                `torch.nn.Module` that maps rows to logits (`secure_fl.models.TorchModule`), or one
                module a hospital, all equal.
            model_params: of a named model, e.g. {"hidden": (64, 32)}.
            class_names, scale: see `secure_fl.data.arrays.from_arrays`, and what is refused there.

        Raises:
            InputError: data or a model that do not fit; names party, rule and value.

        Example:
            >>> import numpy as np
            >>> rng = np.random.default_rng(0)
            >>> def rows(m):
            ...     x = rng.random((m, 4))
            ...     return x, (x[:, 0] > 0.5).astype(int)
            >>> federation = Federation.from_arrays(
            ...     [rows(40) for _ in range(3)], rows(30), [rows(20)], rows(50), "mlp"
            ... )
            >>> federation.hospitals, federation.data.classes
            (3, 2)
        """
        data = from_arrays(hospitals, root, validators, test, class_names, scale)
        network = _network(model, data, dict(model_params or {}))
        counts = class_counts(data.hospitals, data.classes)
        initial = network.init(seeds.torch_generator(0, "model"))
        return cls(data, network, initial, arrays_hash(data), counts)

    def at(self, seed: int) -> Federation:
        """The same parties with the initial model that a seed draws."""
        return replace(self, initial=self.model.init(seeds.torch_generator(seed, "model")))

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of rows that each hospital has, before classes were balanced."""
        if self.data.multilabel:  # whose rows are never repeated, and may count for several labels
            return tuple(len(split) for split in self.data.hospitals)
        return tuple(sum(counts) for counts in self.class_counts)

    @property
    def hospitals(self) -> int:
        """Number of hospitals."""
        return len(self.data.hospitals)

    def logits(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits (m, classes) of one model (d,) on rows (m, *features)."""
        with torch.no_grad():
            return self.model.logits(params.float().unsqueeze(0), x.unsqueeze(0))[0]


def class_counts(splits: Sequence[Split], classes: int) -> tuple[tuple[int, ...], ...]:
    """Rows of each class, or with each label, in each split."""
    counts = (
        split.y.sum(dim=0) if split.y.dim() == 2 else torch.bincount(split.y, minlength=classes)
        for split in splits
    )
    return tuple(tuple(each.tolist()) for each in counts)


def _network(model: Any, data: FederatedData, params: dict[str, Any]) -> models.Model:
    """A model by name, or the one given, held to the data."""
    if isinstance(model, str):
        name = resolve("model", model, models.names())
        own = load_extensions([name] if is_own(name) else [])
        return models.build(name, data.feature_shape, data.classes, params, own)
    require(not params, "model_params", "empty unless model is a name", params)
    if isinstance(model, list | tuple):
        rule = f"one module, or one a hospital, {len(data.hospitals)}"
        require(len(model) == len(data.hospitals), "model", rule, f"{len(model)} of them")
        model = models.shared_module(model)
    if isinstance(model, nn.Module):
        return models.TorchModule(model, data.feature_shape, data.classes)
    if not isinstance(model, models.Model):
        raise InputError(
            f"model must be a name, a torch.nn.Module or a Model; got {type(model).__name__}"
        )
    rule = f"{data.feature_shape}, as the data's"
    found = tuple(model.feature_shape)
    require(found == data.feature_shape, "feature_shape of the model", rule, found)
    rule = f"{data.classes}, as the data's"
    require(model.classes == data.classes, "classes of the model", rule, model.classes)
    models.probe(model, f"model {type(model).__name__}")
    return model
