"""Hospitals that are absent, broken or malicious: refused by name, harmless, never in the way."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.backends.session import Backend, Session, Submission
from secure_fl.hospital.sharing import commit, split
from secure_fl.mpc.prg import fresh_stream
from secure_fl.nodes.shares import ShareMessage
from tests.support.oracles import case

N, D = 5, 6
X = case("plain", N, D, seed=8)[0]


def opened(backend: Backend, rule: Any = "median") -> Session:
    return backend.session(rule, N, D)


def send(session: Any, hospital: int, rank: int, message: ShareMessage) -> None:
    """Hand a node a share as a hospital would, whatever is in it."""
    header = {
        "do": "share",
        "session": session._number,
        "hospital": hospital,
        "proof": [part.hex() for part in message.proof],
    }
    session._backend.tell(rank, header, message.salt, message.share)


def submit_words(
    session: Any, submission: Submission, hospital: int, words: list[np.ndarray]
) -> Mapping[int, bytes]:
    """Replace a hospital's submission by shares of its own making; return all commitments."""
    root, messages = commit(words, [os.urandom(32) for _ in words])
    for rank, message in enumerate(messages):
        send(session, hospital, rank, message)
    return {**submission.commitments, hospital: root}


def expect_without(result: Any, missing: list[int], rule: str = "median") -> None:
    """The round went on with the others, as if the missing had not been there."""
    rest = [h for h in range(N) if h not in missing]
    clear = secure_fl.aggregate(X[rest], rule, "fixed")
    assert torch.equal(result.update, clear.update)
    assert result.accepted.tolist() == [h in rest for h in range(N)]


# --- broken submissions -----------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m._replace(share=bytes([m.share[0] ^ 4]) + m.share[1:]), "does not open"),
        (lambda m: m._replace(salt=bytes(32)), "does not open"),
        (lambda m: m._replace(proof=[bytes(32)]), "does not open"),
        (lambda m: m._replace(proof=[]), "does not open"),
        (lambda m: m._replace(share=m.share[:-1]), f"must be {4 * D} bytes; got {4 * D - 1}"),
        (lambda m: m._replace(share=b""), f"must be {4 * D} bytes; got 0"),
        (lambda m: m._replace(share=m.share * 2), f"must be {4 * D} bytes; got {8 * D}"),
        (lambda m: m._replace(salt=b"", share=b""), f"must be {4 * D} bytes; got 0"),
    ],
)
def test_a_share_that_does_not_hold_is_refused_by_name(
    cluster: Backend, rank: int, change: Any, reason: str
) -> None:
    session = opened(cluster)
    submission = session.submit(X)
    words = [np.arange(D, dtype="<u4"), np.arange(D, dtype="<u4")]
    root, messages = commit(words, [os.urandom(32), os.urandom(32)])
    for node, message in enumerate(messages):
        send(session, 3, node, change(message) if node == rank else message)
    result = session.aggregate(submission, commitments={**submission.commitments, 3: root})
    expect_without(result, [3])
    assert list(submission.refused) == [3]
    # Both nodes complain, each in its words; the one whose share is bad knows why.
    assert submission.refused[3].startswith("node ")
    assert rank or reason in submission.refused[3] or "could not open" in submission.refused[3]
    good = session.submit(X)  # the next round is as if nothing had been
    expect_without(session.aggregate(good), [])
    assert good.refused == {}
    session.close()


def test_the_refusal_says_what_was_wrong(cluster: Backend) -> None:
    session = opened(cluster)
    submission = session.submit(X)
    words = [np.arange(D + 1, dtype="<u4"), np.arange(D + 1, dtype="<u4")]
    commitments = submit_words(session, submission, 2, words)
    result = session.aggregate(submission, commitments=commitments)
    expect_without(result, [2])
    assert f"a share must be {4 * D} bytes; got {4 * D + 4}" in submission.refused[2]


def test_another_commitment_on_the_chain_is_refused(cluster: Backend) -> None:
    session = opened(cluster)
    submission = session.submit(X)
    recorded = {**submission.commitments, 0: os.urandom(32)}
    expect_without(session.aggregate(submission, commitments=recorded), [0])
    assert "does not open its commitment" in submission.refused[0]


def test_a_share_that_one_node_never_got(cluster: Backend) -> None:
    """Committed by a hospital that then sent nothing, or to one node only."""
    session = opened(cluster)
    absent = [h != 4 for h in range(N)]
    submission = session.submit(X, absent)
    words = [np.zeros(D, "<u4"), np.zeros(D, "<u4")]
    root, messages = commit(words, [os.urandom(32), os.urandom(32)])
    send(session, 4, 1, messages[1])
    result = session.aggregate(submission, commitments={**submission.commitments, 4: root})
    expect_without(result, [4])
    assert "node 0" in submission.refused[4]


@pytest.mark.parametrize("arrived", [(), (0,), (1,)])
def test_a_late_hospital_is_named_and_the_round_does_not_wait(
    cluster: Backend, arrived: tuple[int, ...]
) -> None:
    """It committed in time; its shares, or one of them, come after the nodes have combined."""
    session = opened(cluster)
    submission = session.submit(X, [h != 4 for h in range(N)])
    shares = split(torch.as_tensor(X[4]), session.rule.bits, 2, fresh_stream())
    root, messages = commit(shares, [os.urandom(32), os.urandom(32)])
    for rank in arrived:
        send(session, 4, rank, messages[rank])
    result = session.aggregate(submission, commitments={**submission.commitments, 4: root})
    expect_without(result, [4])
    late = [rank for rank in range(2) if rank not in arrived]
    assert submission.refused == {4: f"node {late[0]} has no share"}
    for rank in late:
        send(session, 4, rank, messages[rank])
    # What came late stands in nobody's way: not in the hospital's own, nor in the others'.
    both = session.submit(X)
    expect_without(session.aggregate(both), [])
    assert both.refused == {}
    session.close()


def test_shares_of_an_earlier_round_are_worth_nothing(cluster: Backend) -> None:
    session = opened(cluster)
    first = session.submit(X)
    session.aggregate(first)
    second = session.submit(X, [h != 1 for h in range(N)])
    replayed = {**second.commitments, 1: first.commitments[1]}
    expect_without(session.aggregate(second, commitments=replayed), [1])
    assert "no share" in second.refused[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, 2.0**7])
def test_what_cannot_be_encoded_is_refused_before_it_is_shared(
    cluster: Backend, value: float
) -> None:
    session = opened(cluster)
    bad = X.copy()
    bad[2, 4] = value
    submission = session.submit(bad)
    assert list(submission.refused) == [2]
    assert submission.refused[2].startswith("every coordinate must be ")
    assert 2 not in submission.commitments
    expect_without(session.aggregate(submission), [2])


def test_hospitals_that_drop_out(cluster: Backend) -> None:
    for flags in ("11110", "01010", "00100"):
        session = opened(cluster)
        submission = session.submit(X, [flag == "1" for flag in flags])
        result = session.aggregate(submission)
        expect_without(result, [h for h in range(N) if flags[h] == "0"])


def test_a_round_without_hospitals(cluster: Backend) -> None:
    session = opened(cluster)
    result = session.aggregate(session.submit(X, [False] * N))
    assert result.update.tolist() == [0.0] * D
    assert result.accepted.tolist() == [False] * N


# --- the wrap-around attack -------------------------------------------------------------------


def in_range(words: list[np.ndarray], bits: int) -> np.ndarray:
    """The only value that shares stand for, as float (d,)."""
    total = sum(word.astype(object) for word in words)
    return np.array([((v + 2 ** (bits - 1)) % 2**bits) - 2 ** (bits - 1) for v in total]) / 2**16


def attack_words(kind: str, bits: int) -> list[np.ndarray]:
    """What a malicious hospital might send in 32-bit words."""
    rng = np.random.default_rng(7)
    second = rng.integers(0, 2**32, D, dtype=np.uint32)
    values = {
        # d squares of 2^31, or of 2^31.5, add up to 0 modulo 2^64.
        "norm wraps to zero": np.array([2**31, 2**31, 2**31, 2**31] + [0] * (D - 4)),
        "one square wraps": np.array([2**32 - 1] + [0] * (D - 1)),
        "just outside": np.full(D, 2 ** (bits - 1)),
        "far outside": rng.integers(2**bits, 2**32, D),
        "free words": rng.integers(0, 2**32, D),
    }[kind]
    first = (values.astype(np.uint64) - second).astype(np.uint32)
    return [first.astype("<u4"), second.astype("<u4")]


ATTACKS = ("norm wraps to zero", "one square wraps", "just outside", "far outside", "free words")


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize("name", ["clipped_mean", "cosine_median", "median", "algorithm2"])
def test_values_out_of_range_cannot_be_submitted(cluster: Backend, name: str, kind: str) -> None:
    """Shares of anything count as the one in-range value that they are congruent to."""
    rule = build_rule(name, max_abs=2.0)
    words = attack_words(kind, rule.bits)
    session = opened(cluster, rule)
    submission = session.submit(X)
    commitments = submit_words(session, submission, 1, words)
    result = session.aggregate(submission, commitments=commitments)
    meant = X.copy()
    meant[1] = in_range(words, rule.bits)
    assert np.abs(meant[1]).max() <= 2.0
    honest = secure_fl.open_backend("fixed").session(rule, N, D)
    # The clear session refuses the one value that rounding could push out: -2 itself.
    legal = np.where(meant == -2.0, -2.0 + 2.0**-16, meant)
    same = bool((legal == meant).all())
    expected = honest.aggregate(honest.submit(legal))
    assert submission.refused == {}
    if same:
        assert torch.equal(result.update, expected.update)
        assert torch.equal(result.accepted, expected.accepted)
    else:
        assert float((result.update - expected.update).abs().max()) <= 2.0**-14


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_norm_screen_names_who_is_too_long_whatever_was_sent(cluster: Backend, kind: str) -> None:
    """The norm that counts is that of the value in range; the others' round goes on."""
    rule = build_rule(
        {"max_abs": 2.0, "stages": [{"norm_screen": {"max_norm": 1.5}}, "weighted_mean"]}
    )
    words = attack_words(kind, rule.bits)
    session = opened(cluster, rule)
    submission = session.submit(X)
    result = session.aggregate(submission, commitments=submit_words(session, submission, 1, words))
    meant = X.copy()
    meant[1] = in_range(words, rule.bits)
    honest = np.linalg.norm(meant, axis=1) <= 1.5
    assert result.accepted.tolist() == honest.tolist()
    assert honest.sum() >= N - 1
    clear = secure_fl.aggregate(meant[honest], "mean", "fixed")
    assert torch.equal(result.update, clear.update)


def test_the_wrap_around_attack_would_work_on_a_bare_ring(cluster: Backend) -> None:
    """The same words, taken as ring elements, have norm zero and would pass any norm check.

    Under a norm bound of 1 the attack moves the mean of five no further than 2 / 5.
    """
    raw = [2**31, 2**31, 2**31, 2**31, 0, 0]
    assert sum(v * v for v in raw) % 2**64 == 0
    assert math.hypot(*raw) / 2**16 > 60_000
    rule = build_rule("clipped_mean", max_norm=1.0, max_abs=2.0)
    session = opened(cluster, rule)
    submission = session.submit(X)
    words = attack_words("norm wraps to zero", rule.bits)
    result = session.aggregate(submission, commitments=submit_words(session, submission, 1, words))
    without = secure_fl.aggregate(np.delete(X, 1, axis=0), rule, "fixed").update * 4 / 5
    assert float((result.update - without).norm()) <= 1 / 5 + D * 2.0**-16


def test_a_malicious_hospital_moves_a_clipped_mean_by_its_bound_at_most(cluster: Backend) -> None:
    """Random words many times: the enforced bound holds whatever the shares are."""
    rule = build_rule("clipped_mean", max_norm=0.5, max_abs=2.0)
    rng = np.random.default_rng(3)
    rest = np.delete(X, 1, axis=0)
    without = secure_fl.aggregate(rest, rule, "fixed").update * (N - 1) / N
    for _ in range(10):
        session = opened(cluster, rule)
        submission = session.submit(X)
        words = [rng.integers(0, 2**32, D, dtype=np.uint32).astype("<u4") for _ in range(2)]
        result = session.aggregate(
            submission, commitments=submit_words(session, submission, 1, words)
        )
        pushed = float((result.update - without).norm())
        assert pushed <= (0.5 * (1 + 2**-20) + math.sqrt(D) * 2.0**-16) / N
        session.close()


def test_a_linear_rule_bounds_nothing(cluster: Backend) -> None:
    """`mean` is no defence, and says so: one hospital can set the outcome."""
    session = opened(cluster, "mean")
    submission = session.submit(X)
    huge = np.full(D, 2**44, np.uint64)
    words = [huge.astype("<u8"), np.zeros(D, "<u8")]
    result = session.aggregate(submission, commitments=submit_words(session, submission, 1, words))
    assert float(result.update.min()) > 1e7
