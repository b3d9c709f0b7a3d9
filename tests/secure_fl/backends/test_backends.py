"""The public entry point and sessions in the clear; the nodes' side is in `tests/secure_fl/mpc`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from ledger.protocol.merkle import merkle_root, share_digest
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import BACKENDS
from secure_fl.errors import InputError, SecureFLError
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.hospital.sharing import refusal
from secure_fl.types import Cost

X = np.array([[1.0, 4.0], [2.0, 5.0], [50.0, -6.0]])
every_clear = pytest.mark.parametrize("backend", ["plain", "fixed"])


def session(backend: str = "fixed", **options: Any) -> Any:
    return open_backend(backend).session("median", 3, 2, **options)


def test_public_names_resolve() -> None:
    for name in secure_fl.__all__:
        assert getattr(secure_fl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        secure_fl.nothing  # noqa: B018


def test_names_of_backends() -> None:
    with pytest.raises(InputError, match=r"backend must be one of plain, fixed, mpc; got 'clear'"):
        open_backend("clear")
    with pytest.raises(InputError, match="backend must be one of"):
        secure_fl.aggregate(X, backend="MPC")
    assert BACKENDS == ("plain", "fixed", "mpc")


@every_clear
def test_options_of_the_nodes_go_with_the_nodes(backend: str) -> None:
    with pytest.raises(InputError, match=r"options must be minimum_hospitals alone .*timeout"):
        open_backend(backend, timeout=3)


@every_clear
def test_the_result(backend: str) -> None:
    result = secure_fl.aggregate(X, "median", backend)
    assert result.update.tolist() == [2.0, 4.0]
    assert result.accepted.tolist() == [True] * 3
    assert result.opened == [("update", (2,), 2.0**-16)]
    assert result.opened[0].name == "update"
    assert result.cost.seconds_online > 0
    online = result.cost.seconds_online
    assert result.cost == Cost(seconds_online=online)  # nothing was sent


def test_an_open_backend_stays_open() -> None:
    with open_backend("fixed") as backend:
        first = secure_fl.aggregate(X, "median", backend)
        second = secure_fl.aggregate(X, "median", backend)
    assert torch.equal(first.update, second.update)


def test_any_float_type_and_device_of_input() -> None:
    wanted = secure_fl.aggregate(X, "median", "fixed").update
    for convert in (np.float32, np.float64):
        got = secure_fl.aggregate(X.astype(convert), "median", "fixed").update
        assert torch.equal(got, wanted)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensor = torch.as_tensor(X).to(dtype).requires_grad_(True)
        got = secure_fl.aggregate(tensor, "median", "fixed").update
        assert torch.equal(got, wanted)
        assert not got.requires_grad
    assert torch.equal(secure_fl.aggregate(X.tolist(), "median", "fixed").update, wanted)


@pytest.mark.parametrize(("hospitals", "dim"), [(0, 3), (3, 0), (-1, 3)])
def test_sizes_of_a_session_are_checked(hospitals: int, dim: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        open_backend("plain").session("median", hospitals, dim)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "every coordinate must be a finite number"),
        (float("inf"), "every coordinate must be a finite number"),
        (-float("inf"), "every coordinate must be a finite number"),
        (2.0, "every coordinate must be in (-2, 2)"),
        (-2.0, "every coordinate must be in (-2, 2)"),
        (2.0 - 2.0**-17, "every coordinate must be in (-2, 2)"),  # would round to 2
        (1e300, "every coordinate must be in (-2, 2)"),
    ],
)
def test_why_an_update_is_refused(value: float, reason: str) -> None:
    """By the rule alone: which coordinate, and what it was, is the hospital's own affair."""
    assert refusal(torch.tensor([0.0, value], dtype=torch.float64), 2.0) == reason


@pytest.mark.parametrize("value", [0.0, 2.0 - 2.0**-16, -2.0 + 2.0**-16, 5e-324])
def test_what_can_be_encoded_is_not_refused(value: float) -> None:
    assert refusal(torch.tensor([value, 0.0], dtype=torch.float64), 2.0) is None


@every_clear
def test_one_bad_hospital_does_not_stop_the_others(backend: str) -> None:
    bad = X.copy()
    bad[1, 0] = np.nan
    made = session(backend)
    submission = made.submit(bad)
    assert list(submission.refused) == [1]
    assert sorted(submission.commitments) == [0, 2]
    result = made.aggregate(submission)
    assert result.accepted.tolist() == [True, False, True]
    assert result.update.tolist() == [25.5, -1.0]


@every_clear
def test_who_takes_part(backend: str) -> None:
    made = session(backend)
    result = made.aggregate(made.submit(X, [False, True, True]))
    assert result.accepted.tolist() == [False, True, True]
    assert result.update.tolist() == [26.0, -0.5]
    nobody = made.aggregate(made.submit(X, [False] * 3))
    assert nobody.update.tolist() == [0.0, 0.0]
    assert nobody.opened == [("update", (2,), 2.0**-16)]
    for flags in ([True] * 2, [True] * 4):
        with pytest.raises(InputError, match="present must be 3 flags"):
            made.submit(X, flags)


@every_clear
def test_commitments_from_the_chain_decide(backend: str) -> None:
    """Without one, or with another than its own, a hospital does not take part."""
    made = session(backend)
    submission = made.submit(X)
    recorded = dict(submission.commitments)
    del recorded[2]
    recorded[0] = os.urandom(32)
    result = made.aggregate(submission, commitments=recorded)
    assert result.accepted.tolist() == [False, True, False]
    assert result.update.tolist() == [2.0, 5.0]


def test_a_commitment_is_the_root_over_salted_shares() -> None:
    """In the clear the one share is the update, encoded."""
    key = b"k" * 32
    made = session("fixed", simulation_key=key)
    submission = made.submit(X)
    for hospital, row in enumerate(X):
        salt = HospitalSecrets(key).draw(f"salt 1 {hospital} 0", 32)
        share = np.rint(row * 2**16).astype("<i8").tobytes()
        assert submission.commitments[hospital] == merkle_root([share_digest(salt, share)])


def test_salts_are_fresh_unless_a_simulation_asks_otherwise() -> None:
    made = session()
    first, second = made.submit(X).commitments, made.submit(X).commitments
    assert all(first[h] != second[h] for h in range(3))
    assert len(set(first.values()) | set(second.values())) == 6
    once, again = (session(simulation_key=b"k" * 32) for _ in range(2))
    assert once.submit(X).commitments == again.submit(X).commitments
    assert once.submit(X).commitments == again.submit(X).commitments  # round 2
    assert once.submit(X).commitments != session(simulation_key=b"k" * 32).submit(X).commitments


def test_reputations_weigh() -> None:
    result = secure_fl.aggregate(X, "weighted_mean", "fixed", reputation=[1.0, 0.5, 0.0])
    expected = (X[0] + 0.5 * X[1]) / 1.5
    error = expected - result.update.numpy()
    assert (error >= -(2.0**-20)).all()
    assert (error <= 2.0**-16).all()  # rounded down
    nobody = secure_fl.aggregate(X, "weighted_mean", "fixed", reputation=[0.0, 0.0, 0.0])
    np.testing.assert_allclose(nobody.update.numpy(), X.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    "reputation", [[1.0, 1.0], [1.0, 1.0, 1.1], [1.0, 1.0, -0.1], [[1.0, 1.0, 1.0]]]
)
def test_impossible_reputations_are_refused(reputation: Any) -> None:
    with pytest.raises(InputError, match="reputation"):
        secure_fl.aggregate(X, "weighted_mean", "plain", reputation=reputation)


def test_errors_are_ours_and_values_errors() -> None:
    with pytest.raises(SecureFLError) as error:
        secure_fl.aggregate(X, backend="nowhere")
    assert isinstance(error.value, ValueError)
