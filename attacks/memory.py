"""What an attack remembers from round to round: data that can be stored, and nothing else.

A memory is a mapping from names to tensors, numbers and strings. It is part of a run's state, so it
must come back from bytes exactly as it went; nothing in it is ever pickled or executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

Memory = Mapping[str, Any]

EMPTY: Memory = MappingProxyType({})
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool)
}


def checked(memory: object, owner: str = "an attack") -> Memory:
    """The same memory, held to what can be stored; tensors are copied.

    Args:
        memory: what an attack wants to remember.
        owner: its name, for errors.

    Raises:
        TypeError: it is no mapping from strings, or a value is no tensor on the processor of type
            float32, float64, int64, uint8 or bool, no number and no string; a number that is not
            finite, or whole and of more than 64 bits.
    """
    if not isinstance(memory, Mapping):
        raise TypeError(f"memory of {owner} must be a mapping; got {type(memory).__name__}")
    kept = {}
    for name, value in memory.items():
        if not isinstance(name, str):
            raise TypeError(f"memory of {owner} must have strings as names; got {name!r}")
        kept[name] = _storable(value, f"memory of {owner}, {name!r},")
    return MappingProxyType(kept)


def _storable(value: object, place: str) -> object:
    if isinstance(value, torch.Tensor):
        known = value.dtype in _DTYPES.values() and value.device.type == "cpu"
        if not known:
            rule = f"a tensor of {', '.join(_DTYPES)} on the processor"
            raise TypeError(f"{place} must be {rule}; got {value.dtype} on {value.device}")
        return value.detach().clone().contiguous()
    if type(value) not in (bool, int, float, str):
        raise TypeError(
            f"{place} must be a tensor, a number or a string, which can be stored; got "
            f"{type(value).__name__}"
        )
    if not _is_plain(value):
        raise TypeError(f"{place} must be finite, whole numbers of 64 bits; got {value}")
    return value


def _is_plain(value: object) -> bool:
    """A string, or a number that every reader of JSON holds."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def pack(memory: Memory) -> bytes:
    """A memory as bytes: a line of JSON, then the tensors one after another, little-endian."""
    head: dict[str, Any] = {}
    body = []
    for name, value in sorted(checked(memory).items()):
        if isinstance(value, torch.Tensor):
            head[name] = {"dtype": str(value.dtype).removeprefix("torch."), "shape": [*value.shape]}
            array = value.numpy()
            body.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
        else:
            head[name] = {"value": value}
    return json.dumps(head, sort_keys=True).encode() + b"\n" + b"".join(body)


def unpack(content: bytes) -> Memory:
    """The memory that `pack` wrote; bytes from anybody are read as data.

    Raises:
        ValueError: they are not what `pack` writes.
    """
    line, _, rest = content.partition(b"\n")
    try:
        head = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a memory must begin with a line of JSON: {error}") from error
    if not isinstance(head, dict) or not all(isinstance(each, dict) for each in head.values()):
        raise ValueError("a memory must begin with a mapping of names to mappings")
    found: dict[str, Any] = {}
    for name, entry in head.items():
        if set(entry) == {"value"}:
            value = entry["value"]
            if type(value) not in (bool, int, float, str) or not _is_plain(value):
                raise ValueError(f"memory, {name!r}, must be a number or a string")
            found[name] = value
            continue
        found[name], rest = _tensor(name, entry, rest)
    if rest:
        raise ValueError(f"a memory must end with its tensors; {len(rest)} bytes are left over")
    return MappingProxyType(found)


def _tensor(name: str, entry: dict[str, Any], rest: bytes) -> tuple[torch.Tensor, bytes]:
    dtype, shape = _DTYPES.get(str(entry.get("dtype"))), entry.get("shape")
    sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if set(entry) != {"dtype", "shape"} or dtype is None or not sizes:
        raise ValueError(f"memory, {name!r}, must have a known dtype and a shape, and nothing else")
    kind = np.dtype(torch.empty(0, dtype=dtype).numpy().dtype).newbyteorder("<")
    size = math.prod(shape) * kind.itemsize  # type: ignore[arg-type]
    if size > len(rest):
        raise ValueError(f"memory, {name!r}, must have {size} bytes; {len(rest)} are left")
    array = np.frombuffer(rest[:size], kind).reshape(shape)
    return torch.from_numpy(array.astype(kind.newbyteorder("="))), rest[size:]
