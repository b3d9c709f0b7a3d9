"""The types that carry data: a loaded data set, one party's split, and a federation's splits."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from secure_fl.errors import InputError, near, require

Kind = Literal["tabular", "image"]
# Site of each row, int64 (N,), and the names that the numbers stand for.
Sites = tuple[np.ndarray, tuple[str, ...]]


@dataclass(frozen=True)
class Dataset:
    """A data set as read, before any statistic of it is taken.

    Attributes:
        name: the name it was loaded under.
        kind: "tabular" or "image".
        x: float32 (N, F) for tables, where NaN is missing and a categorical column holds the
            index into its categories; float32 (N, channels, height, width) in [0, 1] for images.
        y: int64 (N,), class of each row; or (N, L) of 0 and 1, which of L labels it has.
        group: int64 (N,), patient of each row. Rows of a patient are never separated.
        feature_names: one name per column; empty for images.
        class_names: name of each class, or of each label.
        categories: categorical columns only, name -> the categories its indices stand for.
        site: int64 (N,), where each row comes from, of data that tell it apart from their columns.
        site_names: name of each site.
        test: bool (N,), rows that the data's makers set aside for tests; all of a patient or none.
    """

    name: str
    kind: Kind
    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    site: np.ndarray | None = None
    site_names: tuple[str, ...] = ()
    test: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = len(self.x)
        require(self.kind in ("tabular", "image"), "kind", '"tabular" or "image"', self.kind)
        require(rows > 0, "x", "non-empty", self.x.shape)
        require(self.x.dtype == np.float32, "x", "float32", self.x.dtype)
        names = len(self.class_names)
        shape = (rows, names) if self.multilabel else (rows,)
        require(self.y.shape == shape, "y", f"of shape {shape}", self.y.shape)
        require(self.group.shape == (rows,), "group", f"of shape ({rows},)", self.group.shape)
        most = 1 if self.multilabel else names - 1
        labels_ok = self.y.min() >= 0 and self.y.max() <= most
        require(labels_ok, "y", f"in 0..{most}", np.unique(self.y))
        if self.kind == "tabular":
            columns = self.feature_names
            fits = self.x.shape[1:] == (len(columns),)
            require(fits, "feature_names", "one per column", columns)
        if self.test is not None:
            good = self.test.shape == (rows,) and self.test.dtype == np.bool_
            require(good, "test", f"bool of shape ({rows},)", self.test.shape)
        if self.site is not None:
            require(self.site.shape == (rows,), "site", f"of shape ({rows},)", self.site.shape)
            sites_ok = self.site.min() >= 0 and self.site.max() < len(self.site_names)
            require(sites_ok, "site", f"in 0..{len(self.site_names) - 1}", np.unique(self.site))

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels, or none."""
        return self.y.ndim == 2

    def sites(self, column: str | None = None) -> Sites:
        """Where each row comes from: the data's own sites, or else a column of categories.

        Missing values are a site of their own.

        Raises:
            InputError: the data have no sites and no such column, or it holds numbers.
        """
        if self.site is not None:
            return self.site, self.site_names
        if column is None or column not in self.categories:
            listed = ", ".join(self.categories) or "none here"
            raise InputError(
                f"data.site must be a column of categories of {self.name} ({listed}); got "
                f"{column!r}{near(column, self.categories)}"
            )
        names = self.categories[column]
        coded = self.x[:, self.feature_names.index(column)]
        missing = np.isnan(coded)
        codes = np.where(missing, len(names), coded).astype(np.int64)
        return codes, (*names, "missing") if missing.any() else names

    def take(self, rows: np.ndarray) -> Dataset:
        """The data set of these rows alone, int (m,)."""
        site = None if self.site is None else self.site[rows]
        test = None if self.test is None else self.test[rows]
        x, y, group = self.x[rows], self.y[rows], self.group[rows]
        return replace(self, x=x, y=y, group=group, site=site, test=test)


@dataclass(frozen=True)
class Split:
    """The rows of one party.

    Attributes:
        x: float32 (m, *features), in [0, 1].
        y: int64 (m,), a class a row; or (m, L) of 0 and 1, which of L labels it has.
    """

    x: torch.Tensor
    y: torch.Tensor

    def __post_init__(self) -> None:
        require(self.x.dtype == torch.float32, "x", "float32", self.x.dtype)
        require(self.y.dtype == torch.int64, "y", "int64", self.y.dtype)
        fits = self.y.dim() in (1, 2) and self.y.shape[:1] == self.x.shape[:1]
        require(fits, "y", "one label per row of x, or one row of labels", self.y.shape)

    def __len__(self) -> int:
        return len(self.y)


def concatenate(splits: Sequence[Split]) -> Split:
    """The rows of several parties, one after the other."""
    return Split(torch.cat([each.x for each in splits]), torch.cat([each.y for each in splits]))


@dataclass(frozen=True)
class FederatedData:
    """A data set divided among the parties; no patient appears in two of the divisions.

    Attributes:
        hospitals: training rows of each hospital, none empty.
        root: validators' half A, public. All preprocessing statistics come from it alone.
        holdout: validators' half B, on which models are validated.
        validators: the parts of `holdout`, one for each validator.
        test: rows that only the final metrics see.
        feature_shape: shape of one row after preprocessing, e.g. (58,) or (1, 32, 32).
        feature_names: one name per column after preprocessing; empty for images.
        class_names: name of each class, or of each label.
    """

    hospitals: list[Split]
    root: Split
    holdout: Split
    validators: list[Split]
    test: Split
    feature_shape: tuple[int, ...]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        parts = {"root": [self.root], "holdout": [self.holdout], "test": [self.test]}
        parts |= {"hospital": self.hospitals, "validator": self.validators}
        for role, splits in parts.items():
            for i, split in enumerate(splits):
                require(len(split) > 0, f"{role} {i}", "given at least one row", len(split))
        require(len(self.hospitals) > 0, "hospitals", "at least one", 0)

    @property
    def classes(self) -> int:
        """Number of classes, or of labels: the outputs of a model."""
        return len(self.class_names)

    @property
    def multilabel(self) -> bool:
        """Whether a row may have several labels, or none."""
        return self.root.y.dim() == 2


def read_verified(path: Path, sha256: str) -> bytes:
    """Bytes of a shipped file (decompressed if its name ends in .gz), refused if altered.

    Raises:
        InputError: the SHA-256 of the content differs from `sha256`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"data.path must be a file; got {str(path)!r}: {error.strerror}"
        ) from error
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InputError(f"{path.name} is damaged: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    require(digest == sha256, path.name, f"the shipped file (SHA-256 {sha256})", digest)
    return content
