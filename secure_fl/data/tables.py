"""Read CSV tables, of published data sets or of the user's own, chunk by chunk."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from secure_fl.errors import InputError

CHUNK_ROWS = 1_000_000
CHUNK_CELLS = 5_000_000
# What stands for a missing value in a table of somebody's own.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
# Columns for what a line has after its last one. Two, since a number with a decimal comma is often
# there twice, as text and as number.
BEYOND = ("(beyond)", "(beyond) 2")


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
    # Plain files alone: a pipe would be waited for.
    present = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
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


class Tail(io.BufferedIOBase):
    """A file, decompressed if its name ends in .gz, that remembers how it ended.

    Args:
        path: CSV file.
        more: columns that its first line, the header, names here beside its own.
    """

    KEPT = 1 << 16

    def __init__(self, path: Path, more: Sequence[str] = ()) -> None:
        opened = gzip.open if path.suffix == ".gz" else open
        self._file = opened(path, "rb")
        header = self._file.readline()
        names = header.rstrip(b"\r\n")
        added = "".join(f",{name}" for name in more).encode()
        self._ahead = names + added + header[len(names) :]
        self._end = b""
        self._lines = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        wanted = -1 if size is None or size < 0 else size
        if wanted < 0:
            data, self._ahead = self._ahead + self._file.read(), b""
        elif self._ahead:
            data, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
        else:
            data = self._file.read(wanted)
        self._lines += data.count(b"\n")
        self._end = (self._end + data[-self.KEPT :])[-self.KEPT :]
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def check_end(self, name: str, fields: int) -> None:
        """Refuse a table whose last line is not whole, once all is read.

        Raises:
            InputError: it has fewer fields than the header, or no line break.
        """
        blank = 0  # lines without anything at the end, which are none
        lines = self._end.splitlines()
        while lines and not lines[-1].strip():
            lines.pop()
            blank += 1
        number = self._lines + (not self._end.endswith(b"\n")) - blank
        last = lines[-1].decode("utf-8", "replace") if lines else ""
        found = len(next(csv.reader([last]), []))
        if found < fields:
            raise InputError(
                f"{name} is cut short: line {number}, its last, has {found} of {fields} fields"
            )
        if not self._end.endswith(b"\n"):
            raise InputError(
                f"{name} may be cut short: line {number}, its last, has no line break at its end; "
                "get the file again, or add the line break if it is whole"
            )


def refuse_repeated(table: pd.DataFrame, key: str, name: str) -> None:
    """Refuse a table that has two lines for one key.

    Raises:
        InputError: naming the table and the first such key.
    """
    twice = table.loc[table[key].duplicated(), key]
    if len(twice):
        raise InputError(
            f"{name} must have one line for each {key}; {len(twice)} lines repeat one, "
            f"{twice.iloc[0]} first"
        )


def refuse_missing(wanted: pd.Series, table: pd.DataFrame, name: str, by: str) -> None:
    """Refuse a table that lacks keys which another one names.

    Raises:
        InputError: naming both tables, and the first key that is missing.
    """
    key = str(wanted.name)
    lacking = wanted[~wanted.isin(table[key])].drop_duplicates()
    if len(lacking):
        raise InputError(
            f"{name} lacks {len(lacking)} of the {wanted.nunique()} {key} that {by} names, "
            f"{lacking.iloc[0]} first: one of the two files is not whole, or not of this release"
        )


def header_of(path: Path) -> list[str]:
    """Names of a CSV file's columns, as its first line has them.

    Raises:
        InputError: no such line, or one that is not separated by commas.
    """
    with _reading(path):
        first = pd.read_csv(path, dtype="str", header=None, nrows=1, keep_default_na=False)
    names = [str(name) for name in first.iloc[0]]
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise InputError(f"{path.name} must be separated by commas; its first line is {names[0]!r}")
    return names


def read_text(path: Path, columns: Sequence[str], most: int) -> pd.DataFrame:
    """Read columns of a CSV file as text; only `MISSING` and what a line lacks are missing.

    Raises:
        InputError: more than `most` values, or whatever `read_chunks` refuses.
    """
    types = dict.fromkeys(columns, "str")
    rows = max(1, CHUNK_CELLS // max(1, len(columns)))
    chunks, cells = [], 0
    for chunk in _named_chunks(path, types, rows, keep_default_na=False, na_values=list(MISSING)):
        cells += chunk.size
        if cells > most:
            raise InputError(f"{path.name} must have at most {most:,} values; it has more")
        chunks.append(chunk)
    return pd.concat(chunks, ignore_index=True)


def read_chunks(
    path: Path, columns: Mapping[str, str], rows: int = CHUNK_ROWS
) -> Iterator[pd.DataFrame]:
    """Yield a table's columns, `rows` rows at a time, named in upper case.

    Args:
        path: CSV file, gzipped if its name ends in .gz.
        columns: name in any case -> NumPy type, "str" included.
        rows: of a chunk.

    Raises:
        InputError: a column is missing, a value is not of its type, a line has more fields than the
            header, or the file is damaged or cut short. Cut exactly between two lines, a file that
            is not compressed looks whole; further fields that are empty are not seen.
    """
    actual = {name.upper(): name for name in header_of(path)}
    missing = [name for name in columns if name.upper() not in actual]
    if missing:
        raise InputError(f"{path.name} lacks the columns {', '.join(missing)}")
    types = {actual[name.upper()]: kind for name, kind in columns.items()}
    for chunk in _named_chunks(path, types, rows):
        chunk.columns = [str(name).upper() for name in chunk.columns]
        yield chunk[[name.upper() for name in columns]]


def _named_chunks(
    path: Path, types: Mapping[str, str], rows: int, **how: Any
) -> Iterator[pd.DataFrame]:
    """Columns under their own names, `rows` rows at a time; lines are held to the header's length.

    Args:
        how: further arguments of `pandas.read_csv`.
    """
    fields = len(header_of(path))
    wanted = {**types, **dict.fromkeys(BEYOND, "str")}
    with (
        _reading(path),
        Tail(path, BEYOND) as content,
        pd.read_csv(content, usecols=list(wanted), dtype=wanted, chunksize=rows, **how) as reader,
    ):
        for chunk in reader:
            _refuse_longer(chunk, path.name, fields)
            yield chunk[list(types)]
        content.check_end(path.name, fields)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into a refusal that names it."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, UnicodeDecodeError):
            raise InputError(f"{path.name} must be text in UTF-8; save it so ({error})") from error
        raise InputError(f"{path.name} cannot be read: {error}") from error


def _refuse_longer(chunk: pd.DataFrame, name: str, fields: int) -> None:
    """Refuse rows that are longer than the header: their values stand under other names."""
    longer = chunk.index[chunk[list(BEYOND)].notna().any(axis=1)]
    if len(longer):
        raise InputError(
            f"{name} must have {fields} fields in each row, as in its header; row {longer[0] + 1} "
            "has more: a comma in it may be a decimal one, or part of a text without quotes"
        )


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a whole table; see `read_chunks`."""
    return pd.concat(list(read_chunks(path, columns)), ignore_index=True)
