"""What users hand in, as float tensors: whatever is clear is taken, the rest refused by name.

Taken as updates of n hospitals, (n, d):

    a tensor         dense or sparse, on any device, of any floating point type, with grad or not
    an array         of any strides and byte order; a pandas DataFrame; a SciPy sparse matrix
    a list           of n rows, each a tensor, an array, a list of numbers, or a state dict

A state dict is flattened in the order of the first hospital's keys, each tensor in row-major order;
all must have the same keys and shapes. Integer tensors and arrays are refused, since they may be
encoded already; whole numbers in lists are numbers like others.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch

from secure_fl.errors import InputError, require

_UPDATES = "a matrix (hospitals, parameters) or a list with one update for each hospital"


def whole_number(value: object, name: str) -> int:
    """Return an integer of any integer type, NumPy's among them.

    Raises:
        InputError: it is another type; booleans are.
    """
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise InputError(f"{name} must be a whole number; got {value!r}")
    try:
        return operator.index(value)
    except TypeError as error:  # arrays and tensors of several elements have the method too
        raise InputError(f"{name} must be a whole number; got {value!r}") from error


def as_updates(updates: Any) -> torch.Tensor:
    """Return updates as a tensor (n, d), floating point, on the CPU, without grad.

    Raises:
        InputError: they are not clear; names the hospital where one is at fault.

    Example:
        >>> as_updates([{"w": torch.ones(1, 2), "b": torch.zeros(1)}, {"b": [3.0], "w": [[1, 2]]}])
        tensor([[1., 1., 0.],
                [1., 2., 3.]], dtype=torch.float64)
    """
    if isinstance(updates, Sequence) and not isinstance(updates, str | bytes):
        require(len(updates) > 0, "updates", _UPDATES, "an empty list")
        return torch.stack(_rows(updates))
    if isinstance(updates, Mapping) or not _is_array(updates):
        raise InputError(f"updates must be {_UPDATES}; got {type(updates).__name__}")
    x = _tensor(updates, "updates")
    require(x.ndim == 2, "updates' shape", "(hospitals, parameters)", tuple(x.shape))
    return x


def as_vector(values: Any, size: int, name: str) -> torch.Tensor:
    """Return numbers as a float64 tensor (size,): what `as_updates` takes as a row, and integers.

    Raises:
        InputError: they are not clear, or of another shape.
    """
    x = _row(values, name, None, integers=True)
    require(tuple(x.shape) == (size,), f"{name}'s shape", f"({size},)", tuple(x.shape))
    return x


def _rows(updates: Sequence[Any]) -> list[torch.Tensor]:
    """Rows of one length, float64."""
    first = updates[0]
    keys = list(first) if isinstance(first, Mapping) else None
    shapes = None
    rows = []
    for hospital, update in enumerate(updates):
        name = f"hospital {hospital}'s update"
        alike = isinstance(update, Mapping) == (keys is not None)
        require(alike, name, "a state dict, as hospital 0's, or none", type(update).__name__)
        rows.append(_row(update, name, keys))
        require(rows[-1].ndim == 1, f"{name}'s shape", "(parameters,)", tuple(rows[-1].shape))
        rule = f"{len(rows[0])}, as hospital 0's"
        require(len(rows[-1]) == len(rows[0]), f"{name}'s length", rule, len(rows[-1]))
        if keys is not None:
            found = {key: tuple(np.shape(update[key])) for key in keys}
            shapes = shapes or found
            require(found == shapes, f"{name}'s shapes", f"{shapes}, as hospital 0's", found)
    return rows


def _row(
    values: Any, name: str, keys: Sequence[Any] | None = None, integers: bool = False
) -> torch.Tensor:
    """One update, flat if it is a state dict, as float64."""
    if isinstance(values, Mapping):
        order = list(values) if keys is None else list(keys)
        same = len(values) > 0 and set(values) == set(order)
        require(same, f"{name}'s keys", f"{order}, as hospital 0's", list(values))
        parts = [_part(values[key], f"{name}[{key!r}]", integers).reshape(-1) for key in order]
        return torch.cat(parts)
    return _part(values, name, integers)


def _part(values: Any, name: str, integers: bool) -> torch.Tensor:
    if not _is_array(values):
        return _numbers(values, name)
    return _tensor(values, name, integers).to(torch.float64)


def _is_array(values: Any) -> bool:
    kinds = ("__array__", "to_numpy", "toarray")
    return isinstance(values, torch.Tensor) or any(hasattr(values, kind) for kind in kinds)


def _numbers(values: Any, name: str) -> torch.Tensor:
    """Nested lists of numbers, of one shape: float64."""
    rule = f"{name} must be real numbers in lists of one length"
    if not isinstance(values, Sequence | Real) or isinstance(values, str | bytes):
        raise InputError(f"{rule}; got {type(values).__name__}")
    if isinstance(values, Sequence) and any(
        _is_array(value) and not isinstance(value, np.generic) for value in values
    ):
        raise InputError(f"{rule}; got a list of arrays: join them, or name them in a dict")
    try:
        array = np.array(values)
    except ValueError as error:  # ragged
        raise InputError(f"{rule}; got lists of several lengths") from error
    require(array.dtype.kind in "iuf", name, "real numbers", _strange(array))
    return torch.from_numpy(array.astype(np.float64))


def _strange(array: np.ndarray) -> str:
    """The type of an array, and of objects the first that is no number."""
    if array.dtype.kind != "O":
        return str(array.dtype)
    odd = (v for v in array.ravel() if not isinstance(v, Real) or isinstance(v, bool))
    return f"objects, such as {next(odd, array.ravel()[0])!r}"


def _tensor(values: Any, name: str, integers: bool = False) -> torch.Tensor:
    """A tensor or an array as a dense floating point tensor on the CPU."""
    if not isinstance(values, torch.Tensor):
        return _from_array(values, name, integers)
    x = values.detach()
    require(not x.is_meta, name, "a tensor with values", "one on the device meta, without any")
    if x.is_quantized or x.is_complex() or not (x.is_floating_point() or integers):
        raise InputError(f"{name} must be floating point; got a tensor of type {x.dtype}")
    dense = x.to_dense() if x.layout != torch.strided else x
    return dense.cpu() if dense.is_floating_point() else dense.cpu().to(torch.float64)


def _from_array(values: Any, name: str, integers: bool) -> torch.Tensor:
    """Whatever becomes a NumPy array, without the copy where it is fine as it is."""
    if isinstance(values, np.ma.MaskedArray):
        require(not np.ma.is_masked(values), name, "whole", "an array with masked values")
        values = values.data
    if hasattr(values, "toarray"):
        values = values.toarray()
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    array = np.asarray(values)
    kinds = "iuf" if integers else "f"
    require(array.dtype.kind in kinds, name, "floating point", f"an array of {_strange(array)}")
    wanted = array.dtype.newbyteorder("=")
    if wanted.kind != "f" or wanted.itemsize > 8:
        wanted = np.dtype(np.float64)
    native = np.ascontiguousarray(array, dtype=wanted).reshape(array.shape)
    return torch.from_numpy(native if native.flags.writeable else native.copy())
