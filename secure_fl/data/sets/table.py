"""A CSV or Parquet file of your own (data.path=FILE data.label=COLUMN data.patient=COLUMN)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from secure_fl.data.columns import check_name, classes, feature, places
from secure_fl.data.dataset import Dataset
from secure_fl.data.tables import header_of, read_text
from secure_fl.errors import InputError, near

OPTIONS = ("label", "patient", "site", "drop")
ENDINGS = (".csv", ".csv.gz", ".parquet")
# Most values of a file: they are held in memory, several times while they are read.
MAX_CELLS = 200_000_000


def load(
    path: Path | None = None,
    label: str | None = None,
    patient: str | None = None,
    site: str | None = None,
    drop: Sequence[str] = (),
) -> Dataset:
    """Read a table with one row a case.

    All columns are features but the ones named here. Which are numbers and which categories is seen
    from their values (`secure_fl.data.columns.feature`); a category written as a number is a
    number. Nothing is imputed, scaled or coded here: statistics come from the root's rows alone,
    later (`secure_fl.data.preprocessing`). Columns that are known only after the outcome must be
    named in `drop`: a program cannot see which they are.

    Args:
        path: CSV file with a header, separated by commas, or a Parquet file (needs pyarrow).
        label: column of classes, words or whole numbers.
        patient: column that tells whose row it is; default: each row is a patient's only one.
        site: column that tells where it comes from; no feature.
        drop: columns to leave out.

    Raises:
        InputError: a file, a column or a value that does not fit; names it, and the rule.
    """
    if path is None or not path.name.lower().endswith(ENDINGS) or not path.is_file():
        got = None if path is None else str(path)
        raise InputError(f"data.path must be a file {', '.join(ENDINGS)} of yours; got {got!r}")
    parquet = path.suffix.lower() == ".parquet"
    header = _parquet_header(path) if parquet else header_of(path)
    for name in header:
        check_name("the name of a column", name)
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{path.name} must name each column once; got {repeated[0]!r} twice")
    roles = _roles(header, {"label": label, "patient": patient, "site": site}, drop)
    kept = [name for name in header if name not in drop]
    frame = _read_parquet(path, kept) if parquet else read_text(path, kept, MAX_CELLS)
    if frame.empty:
        raise InputError(f"{path.name} must have rows; got none")
    y, class_names = classes(roles["label"], frame[roles["label"]])
    for name in class_names:
        check_name("the name of a class", name)
    group = np.arange(len(frame), dtype=np.int64)
    if patient is not None:
        group = places(patient, frame[patient], "a patient")[0]
    where: np.ndarray | None = None
    site_names: tuple[str, ...] = ()
    if site is not None:
        where, site_names = places(site, frame[site], "a site")
        for name in site_names:
            check_name("the name of a site", name)
    features = [name for name in kept if name not in roles.values()]
    columns = {name: feature(name, frame[name]) for name in features}
    return Dataset(
        name="table",
        kind="tabular",
        x=np.stack([column.values for column in columns.values()], axis=1),
        y=y,
        group=group,
        feature_names=tuple(columns),
        class_names=class_names,
        categories={
            name: column.categories
            for name, column in columns.items()
            if column.categories is not None
        },
        site=where,
        site_names=site_names,
    )


def _roles(
    header: Sequence[str], named: dict[str, str | None], drop: Sequence[str]
) -> dict[str, str]:
    """The columns that have a role, each in one; at least one is left for features."""
    if named["label"] is None:
        raise InputError(f"data.label must name the column of classes, one of {', '.join(header)}")
    roles = {role: name for role, name in named.items() if name is not None}
    for role, name in (*roles.items(), *(("drop", name) for name in drop)):
        if name not in header:
            listed = ", ".join(header)
            raise InputError(
                f"data.{role} must be among the columns {listed}; got {name!r}{near(name, header)}"
            )
    taken = [*roles.values(), *drop]
    twice = [name for name in taken if taken.count(name) > 1]
    if twice:
        raise InputError(
            f"data.label, data.patient, data.site and data.drop must differ; got {twice[0]!r} twice"
        )
    if len(taken) == len(header):
        raise InputError(f"a table must have columns of features beside {', '.join(taken)}")
    return roles


def _parquet_header(path: Path) -> list[str]:
    return list(_parquet(path).schema_arrow.names)


def _read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    file = _parquet(path)
    cells = file.metadata.num_rows * len(columns)
    if cells > MAX_CELLS:
        raise InputError(f"{path.name} must have at most {MAX_CELLS:,} values; got {cells:,}")
    from pyarrow import ArrowException

    try:
        return file.read(columns=list(columns), use_threads=False).to_pandas(ignore_metadata=True)
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error


def _parquet(path: Path):  # type: ignore[no-untyped-def]
    """The file, opened: `pyarrow.parquet.ParquetFile`."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise InputError(
            f"{path.name} needs pyarrow to be read: pip install 'secure-fl-crypten[parquet]', or "
            "write the table as CSV"
        ) from error
    try:
        return ParquetFile(path)
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
