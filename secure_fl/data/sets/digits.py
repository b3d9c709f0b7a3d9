"""Handwritten digits, ten classes (1,797 images of 8 x 8, shipped by scikit-learn)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from secure_fl.data.dataset import Dataset
from secure_fl.errors import InputError, require

# Of the pixels, then the labels, as bytes.
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
# Largest value of a pixel: a count in a block of 4 x 4.
_WHITE = 16


def load(path: Path | None = None) -> Dataset:
    """Read the digits from the installed scikit-learn.

    Who wrote a digit is not told, so every row counts as a person of its own.

    Args:
        path: must be None: there is nothing to give.

    Returns:
        x of shape (1797, 1, 8, 8).

    Raises:
        InputError: a path was given, or scikit-learn's copy is another one.
    """
    from secure_fl.scikit_learn import datasets

    if path is not None:
        raise InputError(f"data.path must be null: scikit-learn has the digits; got {str(path)!r}")
    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.uint8)
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    require(digest == SHA256, "digits", f"scikit-learn's (SHA-256 {SHA256})", digest)
    return Dataset(
        name="digits",
        kind="image",
        x=(pixels.astype(np.float32) / _WHITE).reshape(-1, 1, 8, 8),
        y=labels.astype(np.int64),
        group=np.arange(len(labels), dtype=np.int64),
        feature_names=(),
        class_names=tuple(str(digit) for digit in range(10)),
    )
