"""What a node may ask the dealer for: the fields of every kind of request, and what each must be.

Node 0 alone speaks to the dealer, and may be malicious. A field that is unknown, missing or
mistyped is refused by name, before anything is made for it; so is a mask that is not kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from secure_fl.errors import InputError, require
from secure_fl.fields import Rule, Short, hold, whole
from secure_fl.mpc.circuits import CIRCUITS

MOST_WORDS = 1 << 31
"""Words of one correlation, 16 GiB."""

_MOST_NUMBER = (1 << 53) - 1
_NUMBER, _SIZE = whole(0, _MOST_NUMBER), whole(0, MOST_WORDS)


def _all_hold(value: Any, rule: Rule) -> bool:
    return isinstance(value, list) and all(map(rule.holds, value))


def _is_shape(value: Any) -> bool:
    size = 1
    for length in value if _all_hold(value, _SIZE) else [MOST_WORDS + 1]:
        size *= max(length, 1)
    return size <= MOST_WORDS


def _is_parameter(value: Any) -> bool:
    """Texts, whole numbers below 2^63, and lists of them."""
    if isinstance(value, list):
        return all(map(_is_parameter, value))
    return isinstance(value, str | bool | None) or (type(value) is int and abs(value) < 1 << 63)


NUMBERS = Rule("a list of numbers of masks", lambda value: _all_hold(value, _NUMBER))
INDEX = Rule("a list of rows", lambda value: _all_hold(value, _SIZE))
SHAPE = Rule(f"a shape of at most {MOST_WORDS} words", _is_shape)
CIRCUIT = Rule(
    f"one of {', '.join(sorted(CIRCUITS))}",
    lambda value: isinstance(value, str) and value in CIRCUITS,
)
PARAMETERS = Rule(
    "an object of texts, whole numbers and lists of them",
    lambda value: isinstance(value, dict) and all(map(_is_parameter, value.values())),
)


# By kind, as `secure_fl.mpc.correlations` describes them.
REQUESTS: Mapping[str, Mapping[str, Rule]] = {
    "input": {"first": _NUMBER, "shape": SHAPE},
    "circuit": {
        "first": _NUMBER,
        "name": CIRCUIT,
        "inputs": NUMBERS,
        "width": whole(1, MOST_WORDS),
        "params": PARAMETERS,
    },
    "rows": {"first": _NUMBER, "number": _NUMBER, "rows": INDEX},
    "bits": {"number": _NUMBER, "columns": _SIZE, "index": INDEX},
    "products": {"count": _SIZE},
    "mask": {"number": _NUMBER, "shape": SHAPE},
    "release": {"numbers": NUMBERS},
    "norms": {"number": _NUMBER},
    "gram": {"number": _NUMBER},
    "row_dot": {"number": _NUMBER},
    "row_scale": {"number": _NUMBER},
    "combine": {"number": _NUMBER, "count": _SIZE},
    "mux": {"number": _NUMBER, "mask": _NUMBER},
    "step": {},
}
# Fields that name masks which the dealer keeps; `mask` makes the one that it numbers.
_KEPT: Mapping[str, Callable[[Any], list[int]]] = {
    "number": lambda value: [value],
    "mask": lambda value: [value],
    "inputs": list,
    "numbers": list,
}


def check_request(request: Mapping[str, Any], kept: Collection[int]) -> None:
    """Hold a request to its kind.

    Args:
        request: as it came.
        kept: numbers of masks that the dealer keeps.

    Raises:
        InputError: naming the field, the rule and the value.
    """
    kind = request.get("kind")
    known = isinstance(kind, str) and kind in REQUESTS
    require(known, "kind", f"one of {', '.join(REQUESTS)}", Short(kind))
    sizes = {name: value for name, value in request.items() if name != "kind"}
    hold(f"a request {kind}", sizes, REQUESTS[str(kind)])
    for name, value in sizes.items():
        if name in _KEPT and kind != "mask":
            missing = [number for number in _KEPT[name](value) if number not in kept]
            require(not missing, name, "of masks that are kept", Short(missing))
    if kind == "circuit":
        _check_circuit(sizes["name"], sizes["inputs"], sizes["params"])


def _check_circuit(name: str, inputs: list[int], params: Mapping[str, Any]) -> None:
    """Hold inputs and parameters to what the circuit takes."""
    try:
        _signature(name).bind(None, *inputs, **params)
    except TypeError as error:
        raise InputError(f"params of the circuit {name} must be its own: {error}") from error


@cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(CIRCUITS[name])
