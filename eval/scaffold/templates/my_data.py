"""A data set of your own: raw rows, labels and patient numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import secure_fl
from secure_fl.data import Dataset


@secure_fl.dataset
def my_data(path: Path | None) -> Dataset:
    """Three rings around one point, made up.

    Args:
        path: the setting data.path, for data that stand in a file; not used here.
    """
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(600, dtype=np.int64), 2)  # two rows each, never separated
    y = rng.integers(0, 3, 600)[patients]
    angle = rng.uniform(0, 2 * np.pi, len(y))
    radius = y + rng.normal(1, 0.2, len(y))
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return Dataset(
        name="my_data",
        kind="tabular",
        x=x.astype(np.float32),  # NaN where a value is missing
        y=y,
        group=patients,
        feature_names=("east", "north"),
        class_names=("inner", "middle", "outer"),
    )
