"""What an attack remembers is data: it comes back from bytes as it went; nothing else passes."""

from __future__ import annotations

import pickle

import pytest
import torch

from attacks.memory import checked, pack, unpack

FULL = {
    "direction": torch.tensor([[1.5, -2.0], [float("inf"), 0.25]]),
    "exact": torch.tensor([1 / 3], dtype=torch.float64),
    "counts": torch.tensor([2**62, -1]),
    "bits": torch.tensor([True, False]),
    "none": torch.zeros(0, 3),
    "scale": 0.1,
    "rounds": 7,
    "first": False,
    "phase": "waiting\n",
}


def test_a_memory_comes_back_as_it_went() -> None:
    back = unpack(pack(FULL))
    assert list(back) == sorted(FULL)
    for name, value in FULL.items():
        if isinstance(value, torch.Tensor):
            assert back[name].dtype == value.dtype
            assert torch.equal(back[name], value)
        else:
            assert (type(back[name]), back[name]) == (type(value), value)
    assert pack(back) == pack(FULL)


def test_a_kept_memory_shares_no_storage() -> None:
    tensor = torch.zeros(3)
    kept = checked({"a": tensor})
    tensor += 1
    assert kept["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ([1], "memory of x must be a mapping; got list"),
        ({1: 2}, "strings as names; got 1"),
        ({"a": [1]}, "'a', must be a tensor, a number or a string"),
        ({"a": None}, "got NoneType"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, "got torch.complex64"),
    ],
)
def test_what_cannot_be_stored_is_refused(memory: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        checked(memory, "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"a": {"value": [1]}}\n',
        b"[]",
        b'{"a": 1}\n',
        b'{"a": {"dtype": "float32", "shape": [2]}}\n' + bytes(7),
        b'{"a": {"dtype": "float32", "shape": [2]}}\n' + bytes(9),
        b'{"a": {"dtype": "object", "shape": [1]}}\n' + bytes(8),
        b'{"a": {"dtype": "float32", "shape": [-1]}}\n',
        b'{"a": {"dtype": "float32", "shape": [9999999999999]}}\n',
        pickle.dumps({"a": 1}),
    ],
)
def test_bytes_from_anybody_are_held_to_the_form(content: bytes) -> None:
    with pytest.raises(ValueError, match="memory"):
        unpack(content)
