"""Checks of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from secure_fl.data import partition
from secure_fl.data.dataset import Dataset
from secure_fl.testing.insist import insist

ARRAYS = ("x", "y", "group")


def check_data(
    loader: Callable[[Path | None], Dataset], path: Path | None = None, *, hospitals: int = 4
) -> None:
    """Hold a data set to what a run needs of it.

    It is the same at every call; labels and patients are whole numbers, each class has rows; no
    value is infinite, and images lie in [0, 1]; and it can be divided among hospitals, after which
    every feature lies in [0, 1].

    Args:
        loader: a function marked @dataset, or the `load` of one that ships.
        path: what it reads.
        hospitals: among how many it is divided.

    Raises:
        AssertionError: the message says which rule was broken.
        InputError: it has no rows, or too few for so many hospitals, or is no valid `Dataset`.
    """
    data = loader(path)
    insist(isinstance(data, Dataset), f"it returns {type(data).__name__}, which is no Dataset")
    again = loader(path)
    for name in ARRAYS:
        first, second = getattr(data, name), getattr(again, name)
        same = np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        insist(same, f"{name} is another at the second call: draw from a generator with a seed")
    for name in ("y", "group"):
        kind = getattr(data, name).dtype
        insist(kind == np.int64, f"{name} must be int64; it is {kind}")
    present = np.flatnonzero(data.y.any(axis=0)) if data.multilabel else data.y
    missing = set(range(len(data.class_names))) - set(present.tolist())
    insist(not missing, f"no row is of class {[data.class_names[i] for i in sorted(missing)]}")
    insist(not np.isinf(data.x).any(), "x is infinite somewhere; missing values are NaN")
    if data.kind == "image":
        inside = not np.isnan(data.x).any() and data.x.min() >= 0 and data.x.max() <= 1
        insist(bool(inside), "images must lie in [0, 1]")
    divided = partition(data, hospitals, alpha=10.0, validators=2)
    for split in (*divided.hospitals, divided.root, divided.holdout, divided.test):
        good = bool(split.x.isfinite().all()) and split.x.min() >= 0 and split.x.max() <= 1
        insist(good, "features leave [0, 1] after preprocessing")
        insist(split.x.shape[1:] == torch.Size(divided.feature_shape), "rows differ in shape")
