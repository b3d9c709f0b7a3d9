"""What an attack remembers comes back as data, and bytes from anybody are held to that."""

from __future__ import annotations

import json

import pytest
import torch

from attacks.memory import checked, pack, unpack

KEPT = {"a": 1, "b": 2.5, "c": "word", "d": True, "e": torch.arange(6.0).reshape(2, 3)}


def test_a_memory_comes_back() -> None:
    found = unpack(pack(KEPT))
    assert {name: found[name] for name in "abcd"} == {name: KEPT[name] for name in "abcd"}
    assert torch.equal(found["e"], KEPT["e"])
    assert set(found) == set(KEPT)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, -(2**63) - 1])
def test_numbers_that_not_every_reader_holds_are_refused(value: float) -> None:
    with pytest.raises(TypeError, match="must be finite, whole numbers of 64 bits"):
        checked({"a": value})


@pytest.mark.parametrize(
    "head",
    [
        '{"a": {"value": NaN}}',
        '{"a": {"value": 1e999}}',
        '{"a": {"value": %s}}' % ("1" * 4000),
        '{"a": {"value": %s}}' % ("1" * 20),
        '{"a": {"value": 1, "more": %s}}' % ("[" * 900 + "]" * 900),
        '{"a": {"value": [1]}}',
        '{"a": {"dtype": "float32", "shape": [0], "more": {}}}',
        '{"a": {"dtype": "float32", "shape": [-1]}}',
        '{"a": {"dtype": "float32", "shape": [9]}}',
        '{"a": {"dtype": "object", "shape": [0]}}',
        "[" * 100_000,
        "[]",
        '{"a": 1}',
    ],
)
def test_bytes_of_another_form_are_refused(head: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        unpack(head.encode() + b"\n")


def test_what_is_left_over_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes are left over"):
        unpack(json.dumps({"a": {"value": 1}}).encode() + b"\n1")
