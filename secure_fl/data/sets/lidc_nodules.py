"""Lung nodules outlined on chest CT, benign or malignant (4,224 images of 32 x 32, shipped)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from secure_fl.data.dataset import Dataset, read_verified

SHA256 = "bf811aeba4fc78df1693827c4dfb83aad9478c971cb590551dd18781620e6a82"


def load(path: Path | None = None) -> Dataset:
    """Read the outlined nodules; without `path`, the copy in the package.

    The images are drawn shapes (outlined thickness summed over slices), not CT pixels.

    Args:
        path: another copy of the same `.npz` file.

    Returns:
        x of shape (4224, 1, 32, 32); rows are grouped by patient.

    Raises:
        InputError: the content is not that of the shipped file.
    """
    path = path if path is not None else Path(__file__).with_name("lidc_nodules.npz")
    with np.load(io.BytesIO(read_verified(path, SHA256)), allow_pickle=False) as arrays:
        images = arrays["images"].astype(np.float32)[:, None] / np.float32(255)
        return Dataset(
            name="lidc_nodules",
            kind="image",
            x=images,
            y=arrays["labels"].astype(np.int64),
            group=arrays["patient"].astype(np.int64),
            feature_names=(),
            class_names=("benign", "malignant"),
        )
