"""Keep a data set that takes long to read as one NumPy file, without pickled objects."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TypeGuard

import numpy as np

from ledger.files import parse_json
from secure_fl.data.dataset import Dataset
from secure_fl.errors import InputError

SUFFIX = ".npz"
_ABOUT = {"name", "kind", "feature_names", "class_names", "categories"}
_ARRAYS = ("x", "y", "group", "about")


def is_prepared(path: Path | None) -> TypeGuard[Path]:
    """Whether a path is that of a prepared file and not of the original folder."""
    return path is not None and path.suffix == SUFFIX


def refuse_target(path: Path) -> None:
    """Raise `InputError` unless a prepared file can be written there."""
    if path.suffix != SUFFIX:
        raise InputError(f"the file to write must end in {SUFFIX}; got {str(path)!r}")
    if path.exists():
        raise InputError(f"{path} exists already: choose another name")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist")


def keep(dataset: Dataset, path: Path) -> None:
    """Write a data set to a new file; images as bytes, 1/255 a step.

    Raises:
        InputError: the file exists, its folder does not, or its name does not end in `.npz`.
    """
    refuse_target(path)
    about = {
        "name": dataset.name,
        "kind": dataset.kind,
        "feature_names": dataset.feature_names,
        "class_names": dataset.class_names,
        "categories": dataset.categories,
    }
    image = dataset.kind == "image"
    x = np.round(dataset.x * 255).astype(np.uint8) if image else dataset.x
    arrays = {"y": dataset.y, "group": dataset.group, "about": np.array(json.dumps(about))}
    if dataset.test is not None:
        arrays["test"] = dataset.test
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, x=x, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def restore(path: Path, name: str) -> Dataset:
    """Read what `keep` wrote.

    Raises:
        InputError: the file is damaged, or holds another data set.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y, group, text = (arrays[key] for key in _ARRAYS)
            test = arrays.get("test")
        about = parse_json(str(text))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a file of secure-fl prepare: {error}") from error
    if not isinstance(about, dict) or not about.keys() >= _ABOUT:
        raise InputError(f"{path} is not a file of secure-fl prepare: it does not say what it is")
    if about["name"] != name:
        raise InputError(f"{path} holds {about['name']}, not {name}")
    return Dataset(
        name=name,
        kind=about["kind"],
        x=x.astype(np.float32) / np.float32(255) if about["kind"] == "image" else x,
        y=y,
        group=group,
        feature_names=tuple(about["feature_names"]),
        class_names=tuple(about["class_names"]),
        categories={column: tuple(names) for column, names in about["categories"].items()},
        test=test,
    )
