"""Updates as people have them: each form is taken as it is meant, or refused by name."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import secure_fl
from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import InputError
from secure_fl.inputs import as_updates, as_vector, whole_number

X = np.array([[0.5, -1.0, 2.0], [0.25, 3.0, -0.5]])


def frozen(x: np.ndarray) -> np.ndarray:
    """An array that may not be written to."""
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def states(x: np.ndarray) -> list[dict[str, Any]]:
    """One state dict a hospital; the second names its tensors in another order."""
    first = OrderedDict(weight=torch.tensor(x[0, :2])[None], bias=torch.tensor(x[0, 2:]))
    second = {"bias": x[1, 2:].tolist(), "weight": np.array([x[1, :2]])}
    return [first, second]


TAKEN: dict[str, Any] = {
    "tensor": torch.tensor(X),
    "float32": torch.tensor(X).float(),
    "half": torch.tensor(X).half(),
    "bfloat16": torch.tensor(X).bfloat16(),
    "with grad": torch.tensor(X, requires_grad=True),
    "parameter": torch.nn.Parameter(torch.tensor(X)),
    "transposed": torch.tensor(X.T.copy()).T,
    "sparse": torch.tensor(X).to_sparse(),
    "sparse rows": torch.tensor(X).to_sparse_csr(),
    "array": X,
    "array of half": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "big-endian": X.astype(">f8"),
    "big-endian float32": X.astype(">f4"),
    "negative strides": X[::-1, ::-1].copy()[::-1, ::-1],
    "every second column": np.repeat(X, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray(X),
    "read-only": frozen(X),
    "nothing masked": np.ma.masked_array(X),
    "data frame": pd.DataFrame(X, index=["a", "b"], columns=["x", "y", "z"]),
    "SciPy sparse": scipy.sparse.csr_array(X),
    "list of lists": X.tolist(),
    "tuple of tuples": tuple(map(tuple, X.tolist())),
    "list of tensors": list(torch.tensor(X)),
    "list of tensors with grad": list(torch.tensor(X, requires_grad=True)),
    "list of arrays": list(X.astype(">f4")),
    "list of both": [torch.tensor(X[0]).half(), X[1, ::-1].copy()[::-1]],
    "list of series": [pd.Series(row) for row in X],
    "list of sparse rows": [torch.tensor(row).to_sparse() for row in X],
    "state dicts": states(X),
}


@pytest.mark.parametrize("form", sorted(TAKEN))
def test_what_is_clear_is_taken(form: str) -> None:
    found = as_updates(TAKEN[form])
    assert found.dtype.is_floating_point
    assert not found.requires_grad
    assert found.double().tolist() == X.tolist()
    for backend in ("plain", "fixed"):
        result = secure_fl.aggregate(TAKEN[form], "mean", backend)
        assert result.update.tolist() == X.mean(axis=0).tolist()


def test_whole_numbers_in_lists_are_numbers() -> None:
    assert as_updates([[1, 2], [3, -4]]).tolist() == [[1.0, 2.0], [3.0, -4.0]]
    assert as_updates([[np.int64(1)], [2.5]]).tolist() == [[1.0], [2.5]]


REFUSED: dict[str, tuple[Any, str]] = {
    "integers": (X.astype(int), "updates must be floating point; got 'an array of int64'"),
    "integer tensor": (torch.tensor([[1]]), "updates must be floating point; got a tensor of"),
    "booleans": (X > 0, "updates must be floating point; got 'an array of bool'"),
    "no values": (torch.ones(2, 1, device="meta"), "updates must be a tensor with values; got"),
    "complex": (torch.tensor(X) * 1j, "updates must be floating point; got a tensor of"),
    "objects": (np.array([[1.0, None]]), "updates must be .* such as None"),
    "words": (np.array([["1.0"]]), "updates must be floating point; got 'an array of <U3'"),
    "frame of objects": (pd.DataFrame({"x": [1.0, "no"]}), "such as 'no'"),
    "masked": (np.ma.masked_array(X, X > 1), "updates must be whole"),
    "ragged": ([[1.0, 2.0], [3.0]], "hospital 1's update's length must be 2, as hospital 0's"),
    "ragged tensors": ([torch.ones(2), torch.ones(3)], "hospital 1's update's length"),
    "matrices": ([torch.ones(2, 2)], r"hospital 0's update's shape must be \(parameters,\)"),
    "layers": ([[torch.ones(2), torch.ones(3)]], "hospital 0's update .* join them, or name"),
    "ragged inside": ([[1.0, [2.0]]], "hospital 0's update must be real numbers"),
    "numbers": ([1.0, 2.0], "hospital 0's update's shape"),
    "a number": (1.0, "updates must be a matrix .* or a list .*; got float"),
    "nothing": ([], "updates must be .*; got 'an empty list'"),
    "None": (None, "updates must be .*; got NoneType"),
    "None among": ([[1.0], None], "hospital 1's update must be real numbers .*; got NoneType"),
    "None inside": ([[1.0, None]], "hospital 0's update must be real numbers"),
    "text": ("updates.npy", "updates must be .*; got str"),
    "one state dict": (states(X)[0], "updates must be .* one update for each hospital; got"),
    "empty state dict": ([{}], "hospital 0's update's keys"),
    "other keys": ([{"w": [1.0]}, {"v": [1.0]}], r"hospital 1's update's keys must be \['w'\]"),
    "no keys": ([{"w": [1.0]}, [1.0]], "hospital 1's update must be a state dict"),
    "keys later": ([[1.0], {"w": [1.0]}], "hospital 1's update must be .* or none; got 'dict'"),
    "counters": ([{"n": torch.tensor(3)}], r"hospital 0's update\['n'\] must be floating point"),
    "other shapes": (
        [{"w": torch.ones(2, 3)}, {"w": torch.ones(3, 2)}],
        "hospital 1's update's shapes must be .* as hospital 0's",
    ),
    "a vector": (X[0], r"updates' shape must be \(hospitals, parameters\); got \(3,\)"),
    "a cube": (X[None], "updates' shape must be"),
}


@pytest.mark.parametrize("form", sorted(REFUSED))
def test_what_is_not_clear_is_refused_by_name(form: str) -> None:
    given, said = REFUSED[form]
    with pytest.raises(InputError, match=said):
        secure_fl.aggregate(given, "mean")


def test_not_a_number_is_refused_with_its_hospital() -> None:
    for nothing in (float("nan"), float("inf")):
        with pytest.raises(
            InputError,
            match="hospital 1's update is refused: every coordinate must be a finite number",
        ):
            secure_fl.aggregate([[0.0, 1.0, 2.0], [0.0, 1.0, nothing]], "median", "fixed")


def test_public_numbers_come_in_the_same_forms() -> None:
    forms = ([1, 0.5], np.array([1.0, 0.5])[::-1].copy()[::-1], torch.tensor([1.0, 0.5]).half())
    for form in (*forms, pd.Series([1.0, 0.5]), np.array([1.0, 0.5], ">f8")):
        assert as_vector(form, 2, "reputation").tolist() == [1.0, 0.5]
    assert as_vector(np.array([1, 0]), 2, "reputation").tolist() == [1.0, 0.0]
    assert as_vector({"w": [[1.0]], "b": [2.0]}, 2, "reference").tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"reputation's shape must be \(2,\); got \(3,\)"):
        secure_fl.aggregate(X, "weighted_mean", reputation=[1, 1, 1])
    with pytest.raises(InputError, match="reference must be real numbers"):
        secure_fl.aggregate(X, "cosine_root", reference="north")


def test_numbers_of_any_integer_type() -> None:
    for number in (3, np.int64(3), np.uint8(3), torch.tensor(3)):
        assert whole_number(number, "nodes") == 3
    for other in (3.0, True, np.bool_(True), "3", None, np.arange(3), torch.arange(3)):
        with pytest.raises(InputError, match="nodes must be a whole number; got"):
            whole_number(other, "nodes")
    session = open_backend("fixed").session("median", np.int64(2), np.int32(3))
    assert session.aggregate(session.submit(X)).update.shape == (3,)
