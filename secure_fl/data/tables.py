"""Read CSV tables of published data sets from a folder of the user's."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from secure_fl.errors import InputError

CHUNK_ROWS = 1_000_000


def find_tables(folder: Path | None, dataset: str, names: Sequence[str]) -> dict[str, Path]:
    """Find each table as NAME.csv or NAME.csv.gz, in upper or lower case.

    Raises:
        InputError: no folder was given, or tables are missing; the message names all of them.
    """
    wanted = ", ".join(f"{name}.csv" for name in names)
    if folder is None:
        raise InputError(
            f"{dataset} is not shipped: give data.path=FOLDER that holds {wanted} (or .csv.gz)"
        )
    if not folder.is_dir():
        raise InputError(f"data.path must be a folder that holds {wanted}; got {str(folder)!r}")
    present = {path.name.lower(): path for path in sorted(folder.iterdir())}
    found = {}
    for name in names:
        for suffix in (".csv", ".csv.gz"):
            if (name + suffix).lower() in present:
                found[name] = present[(name + suffix).lower()]
                break
    missing = [f"{name}.csv" for name in names if name not in found]
    if missing:
        raise InputError(f"{dataset}: {folder} lacks {', '.join(missing)} (or .csv.gz)")
    return found


def read_chunks(
    path: Path, columns: Mapping[str, str], rows: int = CHUNK_ROWS
) -> Iterator[pd.DataFrame]:
    """Yield a table's columns, `rows` rows at a time, named in upper case.

    Args:
        path: CSV file, gzipped if its name ends in .gz.
        columns: name in any case -> NumPy type, "str" included.
        rows: of a chunk.

    Raises:
        InputError: a column is missing, a value is not of its type, or the file is damaged.
    """
    try:
        header = pd.read_csv(path, nrows=0).columns
        actual = {str(name).upper(): str(name) for name in header}
        missing = [name for name in columns if name.upper() not in actual]
        if missing:
            raise InputError(f"{path.name} lacks the columns {', '.join(missing)}")
        types = {actual[name.upper()]: kind for name, kind in columns.items()}
        with pd.read_csv(path, usecols=list(types), dtype=types, chunksize=rows) as reader:
            for chunk in reader:
                chunk.columns = [str(name).upper() for name in chunk.columns]
                yield chunk[[name.upper() for name in columns]]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} cannot be read: {error}") from error


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a whole table; see `read_chunks`."""
    return pd.concat(list(read_chunks(path, columns)), ignore_index=True)
