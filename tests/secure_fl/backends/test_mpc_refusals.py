"""Errors inside rules and messages without sense: refused by name, and the nodes go on."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from ledger.members.members import MAX_HOSPITALS
from secure_fl.aggregation import Pipeline, Stage, make_stage, stage
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.counts import MOST_HOSPITALS
from secure_fl.errors import ConfigError, InputError
from tests.support.oracles import case

X, _, ROOT = case("plain", 4, 6, seed=2)
ALLOW = (f"{__name__}:fails_when_told",)


@stage
def fails_when_told(fail: str = "no") -> Stage:
    """Raise inside the nodes: an error of the rule, or of its programmer."""

    def apply(context: Any, state: Any) -> tuple[Any, Any]:
        context.ops.squared_norms(context.x)  # leave something half done
        if fail == "input":
            raise InputError("fail must be no; got input")
        return context, state

    return Stage(apply)


def failing(fail: str) -> Pipeline:
    return Pipeline((fails_when_told(fail), make_stage("coordinate_median", {})), 2.0)


def works(backend: Backend) -> bool:
    result = secure_fl.aggregate(X, "median", backend)
    return torch.equal(result.update, secure_fl.aggregate(X, "median", "fixed").update)


def test_an_error_inside_a_rule_leaves_the_nodes_usable(cluster: Backend) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="fail must be no; got input"):
            secure_fl.aggregate(X, failing("input"), cluster)
        assert works(cluster)
    with pytest.raises(InputError, match="trust_screen needs a reference"):
        secure_fl.aggregate(X, "guarded", cluster)
    assert works(cluster)
    wide = secure_fl.build_rule("clipped_mean", max_abs=2.0**14)
    with pytest.raises(InputError, match="norms to fit the ring"):
        secure_fl.aggregate(np.zeros((2, 5)), wide, cluster)
    assert works(cluster)


def test_a_rule_that_the_nodes_cannot_import_is_refused(cluster: Backend) -> None:
    here = Stage(lambda context, state: (context, state), config=("__main__:nothing", {}))
    rule = Pipeline((here, make_stage("coordinate_median", {})), 2.0)
    with pytest.raises(ConfigError, match="nothing is defined in the program or notebook"):
        cluster.session(rule, 4, 6)
    assert works(cluster)


@pytest.mark.parametrize(
    ("message", "payload", "said"),
    [
        ({"do": "no such thing", "session": 1}, b"", "command must be one of .*; got 'no such"),
        ({"do": "close"}, b"", "a message 'close' must have 'session'"),
        ({"do": "close", "session": "1"}, b"", "session must be a number; got '1'"),
        ({"do": None, "session": 1}, b"", "do must be a command; got None"),
        ({"do": "open", "session": 1}, b"", "a message 'open' must have 'rule'"),
        (
            {"do": "aggregate", "session": -7},
            b"",
            "session must be one that is open here .* got -7",
        ),
        ({"do": "sign", "session": -7}, b"", "session must be one that is open here .* got -7"),
        ({"do": "check", "session": -7}, b"x", "payload of 'check' must be at most 0 bytes; got 1"),
        ({"do": "close", "session": 1}, bytes(200_000), "at most 0 bytes; got 200000"),
    ],
)
def test_messages_without_sense_are_answered(
    cluster: Any, message: dict[str, Any], payload: bytes, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        cluster.ask(message, payload)
    assert works(cluster)


OPEN = {"do": "open", "session": 99, "rule": secure_fl.build_rule("median").to_config()}
OPEN |= {"hospitals": 4, "dim": 6, "ties": None}
AGGREGATE = {"do": "aggregate", "round": 1, "roots": {}, "reputation": [1.0] * 4}
AGGREGATE |= {"samples": [1.0] * 4, "ruled": [], "vectors": []}
TIES = {"chain_id": 7, "contract": 20 * "00", "hospitals": [20 * "00"] * 4}


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("session", [-1, 2**53], r"a whole number in 0\.\.9007199254740991"),
        ("hospitals", ["x", 10**15, 1025, 0, -1, 4.0, True, None], r"a whole number in 1\.\.1024"),
        ("dim", ["x", 2**28 + 1, 0, 6.0, [6]], r"a whole number in 1\.\.268435456"),
        ("rule", ["x", 7, None, ["median"]], "an object of texts, finite numbers and whole"),
        ("ties", ["x", [], {**TIES, "chain_id": "7"}], "null, or chain_id, contract and hosp"),
        ("ties", [{**TIES, "contract": "zz"}, {**TIES, "hospitals": 4}], "null, or chain_id, con"),
        ("ties", [{**TIES, "hospitals": [20 * "00"] * 1025}, {}], "null, or chain_id, contract"),
    ],
)
def test_fields_that_no_session_opens_with(
    cluster: Any, field: str, values: list[Any], said: str
) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"{field} must be {said}.*; got "):
            cluster.ask({**OPEN, field: value})
    assert works(cluster)


def test_a_rule_that_would_never_be_built_is_refused_at_once(cluster: Any) -> None:
    rule = {"max_abs": 2.0, "stages": [{"mda": {"num_malicious": 2**62}}]}
    with pytest.raises(InputError, match="num_malicious must be None or from 0 to 1024; got 46116"):
        cluster.ask({**OPEN, "rule": rule})
    assert works(cluster)


def test_sessions_too_large_to_compute_with(cluster: Any) -> None:
    with pytest.raises(InputError, match=r"hospitals \* dim must be at most 2147483648; got 2748"):
        cluster.ask({**OPEN, "hospitals": 1024, "dim": 2**28 - 4})
    with pytest.raises(
        InputError, match=r"hospitals must be a whole number in 1\.\.1024; got 1025"
    ):
        cluster.session("median", 1025, 6)
    assert MOST_HOSPITALS == MAX_HOSPITALS
    assert works(cluster)


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("round", ["x", 0, -1, 1.5, True, None, 2**53], r"a whole number in 1\.\.9007199254740991"),
        ("roots", [[1], "x", 3, None], "a root of 32 bytes in hexadecimal by hospital"),
        ("roots", [{"0": "zz"}, {"a": 32 * "00"}, {"0": 31 * "00"}], "a root of 32 bytes in hex"),
        ("roots", [{"4": 32 * "00"}, {"-1": 32 * "00"}, {"00": 32 * "00"}], "a root of 32 bytes"),
        ("roots", [{"\u0663": 32 * "00"}, {"0": 7}, {"0": 31 * "00" + "  "}], "a root of 32 bytes"),
        ("reputation", ["x", [1.0] * 3, [2.0] * 4, [-1] * 4], r"4 finite numbers in \[0, 1\]"),
        ("reputation", [["1"] * 4, [True] * 4, [[1.0]] * 4], "4 finite numbers in"),
        ("samples", ["x", [1.0] * 5, [-1.0] * 4, None], "4 finite numbers >= 0"),
        (
            "ruled",
            [[1], "x", [[0]], [[4, 0]], [[0, 2]]],
            r"pairs of a hospital in 0\.\.3 and a nod",
        ),
        (
            "vectors",
            ["model", ["root"], ["model", "reference"], ["model"] * 2, [3], None],
            "a list of",
        ),
        ("ruled", [[[0, -1]], [["0", 0]], [[0, 0, 0]], {"0": 0}], "pairs of a hospital in"),
    ],
)
def test_fields_that_no_round_is_combined_with(
    cluster: Any, field: str, values: list[Any], said: str
) -> None:
    """The session goes on as well: nothing was combined, and no share used up."""
    session = cluster.session("median", 4, 6)
    submission = session.submit(X)
    for value in values:
        with pytest.raises(InputError, match=f"{field} must be {said}.*; got "):
            cluster.ask({**AGGREGATE, "session": session._number, field: value})
    lacking = {name: value for name, value in AGGREGATE.items() if name != field}
    if field != "roots":  # which are checked before where nodes sign
        with pytest.raises(InputError, match=f"a message 'aggregate' must have '{field}'"):
            cluster.ask({**lacking, "session": session._number})
    assert session.aggregate(submission).accepted.tolist() == [True] * 4


def test_directions_that_are_none(cluster: Any) -> None:
    session = cluster.session("median", 4, 6)
    submission = session.submit(X)
    message = {**AGGREGATE, "session": session._number, "vectors": ["reference", "model"]}
    for size in (0, 7, 40, 47, 48, 95):
        with pytest.raises(InputError, match=f"of 'aggregate' must be 96 bytes; got {size}"):
            cluster.ask(message, bytes(size))
    message["vectors"] = ["model"]
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match="payload of 'aggregate' must be finite numbers"):
            cluster.ask(message, np.full(6, value).tobytes())
    assert session.aggregate(submission).accepted.tolist() == [True] * 4


@pytest.mark.parametrize(
    "text",
    [
        b'{"do": "close", "session": Infinity}',
        b'{"do": "close", "session": NaN}',
        b'{"do": "close", "session": ' + 401 * b"9" + b"}",  # above all floats
        b"{'do': 'close'}",
        b"\xff",
        b"[]",
        65 * b"[" + 65 * b"]",
    ],
)
def test_headers_that_are_no_json_objects_are_answered(cluster: Any, text: bytes) -> None:
    """By whoever may write to a node: what `ask` sends is always JSON."""
    for process in cluster.node_processes:
        process.channel.send_raw(struct.pack(">IQ", len(text), 70_000) + text + bytes(70_000))
        answer, _ = process.channel.receive()
        assert "coordinator sent a header that is not " in answer["message"]
        assert (answer["error"], answer["question"]) == ("Refused", None)
    assert works(cluster)


def test_an_answer_to_nonsense_is_short(cluster: Any) -> None:
    with pytest.raises(InputError, match="do must be a command") as caught:
        cluster.ask({"do": ["x" * 100_000] * 10, "session": 1})
    assert len(str(caught.value)) < 500
    assert works(cluster)


def test_shares_that_belong_nowhere_are_dropped(cluster: Any) -> None:
    """Too long for the session, or for none: nothing waits for an answer, and nothing breaks."""
    session = cluster.session("median", 4, 6)
    header = {"do": "share", "hospital": 0, "proof": []}
    cluster.tell(0, {**header, "session": session._number}, bytes(1_000_000))
    cluster.tell(0, {**header, "session": -7}, bytes(10))
    cluster.tell(1, {**header, "session": "nonsense"}, b"")
    cluster.tell(1, {"do": "share"}, b"")
    assert session.aggregate(session.submit(X)).accepted.tolist() == [True] * 4


def test_wrong_input_never_reaches_the_nodes(cluster: Backend) -> None:
    session = cluster.session("median", 4, 6)
    for bad in (X[:3], X[:, :5], X.astype(int), X[0]):
        with pytest.raises(InputError):
            session.submit(bad)
    submission = session.submit(X)
    for options in ({"reputation": [2.0] * 4}, {"reputation": [1.0]}, {"reference": [1.0]}):
        with pytest.raises(InputError):
            session.aggregate(submission, **options)
    result = session.aggregate(submission)
    assert result.accepted.tolist() == [True] * 4


@pytest.mark.parametrize("nodes", [-1, 0, 1, 5])
def test_the_number_of_nodes_is_checked(nodes: int) -> None:
    with pytest.raises(InputError, match=f"nodes must be 2, 3 or 4; got {nodes}"):
        open_backend("mpc", nodes=nodes)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), 1e12])
def test_the_time_limit_is_checked(seconds: float) -> None:
    said = r"timeout must be above 0, at most 1,000,000 s; got"
    with pytest.raises(InputError, match=said):
        open_backend("mpc", timeout=seconds)
    if math.isfinite(seconds):
        with pytest.raises(ConfigError, match=said):
            secure_fl.load_config([f"defence.timeout={seconds}"])
