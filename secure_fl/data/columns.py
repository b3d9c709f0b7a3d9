"""Columns of somebody's table as numbers and categories; what is neither is refused by name."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from secure_fl.errors import InputError

# Most categories of a column: what has more is a text, a code or an identifier.
MAX_LEVELS = 100
# Longest name of a column, a class, a category or a site.
MAX_NAME = 100
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([ T]\d.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*")
_TO_DROP = "leave it out with data.drop=[...]"


class Column(NamedTuple):
    """One column as a data set has it.

    Attributes:
        values: float32 (N,), NaN where missing; indices of a column of categories.
        categories: what indices stand for, sorted; None for numbers.
    """

    values: np.ndarray
    categories: tuple[str, ...] | None


def feature(name: str, column: pd.Series) -> Column:
    """A column of features: numbers, or at most `MAX_LEVELS` categories.

    A column of text is one of numbers if every value is one. Nothing else is guessed.

    Raises:
        InputError: dates, numbers mixed with words, too many categories, an infinite value, or no
            value at all; names the column, the rule and the value.
    """
    present = column.dropna()
    if present.empty:
        raise InputError(f"column {name!r} must have a value in some row; got none: {_TO_DROP}")
    if pd.api.types.is_datetime64_any_dtype(column):
        raise _dates(name, present.iloc[0])
    if pd.api.types.is_numeric_dtype(column):  # booleans are
        return Column(_finite(name, column), None)
    _refuse_strange(name, present)
    levels = sorted(str(value) for value in present.unique())
    words = [level for level in levels if not _NUMBER.fullmatch(level.strip())]
    if not words:
        return Column(_finite(name, column.astype("str").where(column.notna())), None)
    if all(_DATE.fullmatch(word.strip()) for word in words):
        raise _dates(name, words[0])
    if 2 * len(words) <= len(levels):
        raise InputError(
            f"column {name!r} must hold numbers or categories, not both; got {words[0]!r} among "
            f"numbers: leave missing values empty, or {_TO_DROP}"
        )
    if len(levels) > MAX_LEVELS:
        raise InputError(
            f"column {name!r} must have at most {MAX_LEVELS} categories; got {len(levels):,}, such "
            f"as {levels[0][:MAX_NAME]!r}: {_TO_DROP}"
        )
    names = tuple(check_name(f"a category of column {name!r}", level) for level in levels)
    return Column(_codes(column, names), names)


def classes(name: str, column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of labels: int64 (N,) and the names of the classes, in order.

    Whole numbers are ordered by size, words by the alphabet.

    Raises:
        InputError: a row without a label, fewer than 2 classes or more than `MAX_LEVELS`, or
            numbers that are not whole.
    """
    codes, names = places(name, column, "a label")
    if all(_NUMBER.fullmatch(each) for each in names):
        numbers = [float(each) for each in names]
        broken = [each for each, number in zip(names, numbers, strict=True) if number % 1]
        if broken:
            raise InputError(
                f"label column {name!r} must hold classes, words or whole numbers; got {broken[0]}"
            )
        if len(set(numbers)) < len(names):
            raise InputError(
                f"label column {name!r} must write each class in one way; got {', '.join(names)}"
            )
        order = np.argsort(numbers, kind="stable")
        codes, names = np.argsort(order)[codes], tuple(names[i] for i in order)
    if not 2 <= len(names) <= MAX_LEVELS:
        raise InputError(
            f"label column {name!r} must have from 2 to {MAX_LEVELS} classes; got {len(names):,}"
        )
    return codes, names


def places(name: str, column: pd.Series, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of patients, sites or labels: int64 (N,) numbers, and what they stand for, sorted.

    Raises:
        InputError: a row without a value.
    """
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise InputError(
            f"column {name!r} must have {what} in every row; row {missing[0] + 1} has none"
        )
    _refuse_strange(name, column)
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype("int64")  # 1.0 and 1 are one class
    names, codes = np.unique(column.astype("str").to_numpy(dtype=object), return_inverse=True)
    return codes.astype(np.int64), tuple(str(each) for each in names)


def check_name(what: str, name: str) -> str:
    """Hold a name that is printed and drawn to what can be.

    Raises:
        InputError: it is too long, or not printable.
    """
    if not name.isprintable() or len(name) > MAX_NAME:
        raise InputError(
            f"{what} must have at most {MAX_NAME} printable characters; got {name[:MAX_NAME]!r}"
        )
    return name


def _codes(column: pd.Series, names: tuple[str, ...]) -> np.ndarray:
    coded = pd.Categorical(column.astype("str").where(column.notna()), categories=list(names)).codes
    return np.where(coded < 0, np.nan, coded).astype(np.float32)


def _finite(name: str, column: pd.Series) -> np.ndarray:
    """Numbers as float32, NaN where missing."""
    wide = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    beyond = np.flatnonzero(np.isinf(values))
    if len(beyond):
        raise InputError(
            f"column {name!r} must hold finite numbers below 3.4e38; row {beyond[0] + 1} has "
            f"{wide[beyond[0]]:g}"
        )
    return values


def _refuse_strange(name: str, present: pd.Series) -> None:
    """Refuse what a file of columns can hold beside numbers and text, such as lists and dates."""
    if pd.api.types.is_numeric_dtype(present):
        return
    strange = next((value for value in present if not isinstance(value, str)), None)
    if hasattr(strange, "year"):
        raise _dates(name, strange)
    if strange is not None:
        kind = type(strange).__name__
        raise InputError(
            f"column {name!r} must hold numbers or text; got a value of type {kind}: {_TO_DROP}"
        )


def _dates(name: str, value: object) -> InputError:
    return InputError(
        f"column {name!r} must hold numbers or categories; got dates, such as {str(value)!r}: "
        f"write days between two dates as a number, or {_TO_DROP}"
    )
