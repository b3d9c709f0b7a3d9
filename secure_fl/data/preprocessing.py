"""Imputation, scaling, one-hot coding and class balance.

All statistics are fitted on the public root alone, so that none crosses hospitals and none comes
from the rows a model is judged on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from secure_fl.data.dataset import Dataset, Split
from secure_fl.errors import require

MISSING = "missing"


@dataclass(frozen=True)
class TabularScaler:
    """Statistics of the root's columns. Build with `fit_scaler`, use with `apply`.

    Attributes:
        names: raw column names.
        median, low, high: float32 (F,), of the root's observed values; unused (0) for
            categorical columns.
        levels: categorical columns only, name -> [(feature suffix, index or NaN for missing)].
    """

    names: tuple[str, ...]
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    levels: dict[str, list[tuple[str, float]]]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that `apply` returns."""
        out: list[str] = []
        for name in self.names:
            if name in self.levels:
                out += [f"{name}={suffix}" for suffix, _ in self.levels[name]]
            else:
                out.append(name)
        return tuple(out)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Impute, scale to [0, 1] and one-hot.

        Numbers: NaN becomes the root's median, then (x - low) / (high - low) clipped to [0, 1];
        a column that is constant on the root becomes 0. Categories: one 0/1 column for each
        category seen on the root, and one for missing if the root has missing values; a
        category that the root never showed is all zeros.

        Args:
            x: float32 (m, F), raw.

        Returns:
            float32 (m, F'), in [0, 1], no NaN.
        """
        require(x.shape[1:] == (len(self.names),), "x", f"of {len(self.names)} columns", x.shape)
        columns: list[np.ndarray] = []
        for j, name in enumerate(self.names):
            column = x[:, j]
            if name in self.levels:
                for _, index in self.levels[name]:
                    hit = np.isnan(column) if np.isnan(index) else column == index
                    columns.append(hit.astype(np.float32))
                continue
            width = self.high[j] - self.low[j]
            if width <= 0:
                columns.append(np.zeros(len(x), np.float32))
                continue
            filled = np.where(np.isnan(column), self.median[j], column)
            columns.append(np.clip((filled - self.low[j]) / width, 0, 1).astype(np.float32))
        return np.stack(columns, axis=1)


def fit_scaler(
    x: np.ndarray, names: tuple[str, ...], categories: dict[str, tuple[str, ...]]
) -> TabularScaler:
    """Fit medians, ranges and categories.

    Args:
        x: float32 (m, F), the root's raw rows; NaN is missing. A column without any observed
            value is treated as constant.
        names: column names.
        categories: categorical columns, name -> what its indices stand for.
    """
    require(x.ndim == 2 and len(x) > 0, "x", "of shape (m > 0, F)", x.shape)
    median, low, high = (np.zeros(len(names), np.float32) for _ in range(3))
    levels: dict[str, list[tuple[str, float]]] = {}
    for j, name in enumerate(names):
        missing = np.isnan(x[:, j])
        seen = x[~missing, j]
        if name in categories:
            levels[name] = [(categories[name][int(i)], float(i)) for i in np.unique(seen)]
            if missing.any():
                levels[name].append((MISSING, float("nan")))
        elif len(seen):
            median[j], low[j], high[j] = np.median(seen), seen.min(), seen.max()
    return TabularScaler(names, median, low, high, levels)


def fit_apply(
    dataset: Dataset, root: np.ndarray, parts: list[np.ndarray]
) -> tuple[list[Split], tuple[str, ...]]:
    """Preprocess the rows of every party with statistics of the root's rows alone.

    Images are already scaled by a public constant and pass unchanged.

    Args:
        dataset: the raw data.
        root: int (r,), the root's row numbers.
        parts: row numbers of each party.

    Returns:
        One split for each part, and the names of the columns.
    """
    x, names = dataset.x, dataset.feature_names
    if dataset.kind == "tabular":
        scaler = fit_scaler(dataset.x[root], dataset.feature_names, dataset.categories)
        x, names = scaler.apply(dataset.x), scaler.feature_names
    y = dataset.y
    return [Split(torch.from_numpy(x[p]), torch.from_numpy(y[p])) for p in parts], names


def balance_classes(split: Split, generator: torch.Generator) -> Split:
    """Repeat random rows of the rarer classes until all present classes are equally frequent.

    Uses the hospital's own rows only. Every original row stays, so nothing is lost; a hospital
    with one class is returned as it is.

    Args:
        split: m rows.
        generator: source of the random choice.

    Returns:
        (number of present classes) x (size of the largest) rows, originals first.
    """
    counts = torch.bincount(split.y)
    extra = [torch.arange(len(split))]
    for label in torch.nonzero(counts).flatten().tolist():
        rows = torch.nonzero(split.y == label).flatten()
        lacking = int(counts.max()) - len(rows)
        extra.append(rows[torch.randint(len(rows), (lacking,), generator=generator)])
    chosen = torch.cat(extra)
    return Split(split.x[chosen], split.y[chosen])
