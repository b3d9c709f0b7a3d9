"""What metrics take: vectors and labels, checked once."""

from __future__ import annotations

from typing import Any

import numpy as np

from secure_fl.errors import require


def finite(values: Any, name: str) -> np.ndarray:
    """Check that `values` is a non-empty vector without NaN or infinity; float64 (m,)."""
    vector = np.asarray(values, dtype=np.float64)
    require(vector.ndim == 1 and len(vector) > 0, name, "a non-empty vector", vector.shape)
    require(bool(np.isfinite(vector).all()), name, "finite", "NaN or infinity")
    return vector


def labels(values: Any, name: str) -> np.ndarray:
    """Check that `values` is a non-empty vector of integers (m,)."""
    vector = np.asarray(values)
    require(vector.ndim == 1 and len(vector) > 0, name, "a non-empty vector", vector.shape)
    require(vector.dtype.kind in "iub", name, "integer class labels", str(vector.dtype))
    return vector


def paired(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check two vectors of labels (m,) of one length."""
    truth, predicted = labels(y_true, "y_true"), labels(y_pred, "y_pred")
    rule = f"as long as y_true ({len(truth)})"
    require(len(predicted) == len(truth), "y_pred", rule, len(predicted))
    return truth, predicted


def scored(values: Any, name: str = "logits") -> np.ndarray:
    """Check that `values` are finite logits of two or more classes, (m, C); float64."""
    matrix = np.asarray(values, dtype=np.float64)
    good = matrix.ndim == 2 and len(matrix) > 0 and matrix.shape[1] >= 2
    require(good, name, "of shape (m > 0, C >= 2)", matrix.shape)
    require(bool(np.isfinite(matrix).all()), name, "finite", "NaN or infinity")
    return matrix
