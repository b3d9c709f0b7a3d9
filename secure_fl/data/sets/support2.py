"""SUPPORT2: death in hospital of 9,105 seriously ill inpatients (tabular, shipped)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from secure_fl.data.dataset import Dataset, read_verified

SHA256 = "4f7dfcfb0d702401adfd0fa47702ed18fdd4dfe37acd0bcf1055acb7df007a1b"
LABEL = "hospdead"
# Known only after the outcome, or following from it.
LEAKING = (
    "sno",
    "death",
    "slos",
    "d.time",
    "charges",
    "totcst",
    "totmcst",
    "dnr",
    "dnrday",
    "sfdm2",
)
# Averaged over days that may lie after the prediction.
LATE = ("avtisst",)


def load(path: Path | None = None) -> Dataset:
    """Read SUPPORT2; without `path`, the copy in the package.

    Args:
        path: another copy of the file, gzipped (`.gz`) or plain CSV, with the same content.

    Returns:
        36 columns, 6 of them categorical. Rows are patients, so every row is its own group.

    Raises:
        InputError: the content is not that of the published file.
    """
    path = path if path is not None else Path(__file__).with_name("support2.csv.gz")
    frame = pd.read_csv(io.BytesIO(read_verified(path, SHA256)))
    inputs = frame.drop(columns=[LABEL, *LEAKING, *LATE])
    x, categories = encode(inputs)
    return Dataset(
        name="support2",
        kind="tabular",
        x=x,
        y=frame[LABEL].to_numpy(np.int64),
        group=np.arange(len(frame), dtype=np.int64),
        feature_names=tuple(inputs.columns),
        class_names=("survived", "died"),
        categories=categories,
    )


def encode(frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """Turn a frame into float32 (N, F): text columns become indices into their sorted values.

    Missing stays NaN in both kinds of column. The indices are names, not statistics: which
    categories become features is decided later, on the root alone.
    """
    columns: list[np.ndarray] = []
    categories: dict[str, tuple[str, ...]] = {}
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            columns.append(column.to_numpy(np.float32, na_value=np.nan))
            continue
        coded = pd.Categorical(column)
        categories[str(name)] = tuple(str(c) for c in coded.categories)
        columns.append(np.where(coded.codes < 0, np.nan, coded.codes).astype(np.float32))
    return np.stack(columns, axis=1), categories
