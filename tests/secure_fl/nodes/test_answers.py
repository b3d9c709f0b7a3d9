"""What nodes answer is read as it was written, and nothing else is read at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import secure_fl
from ledger.members.keys import simulation_key
from secure_fl.errors import InputError, NodeFailure
from secure_fl.files import sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.answers import (
    Answer,
    Done,
    Evidence,
    Failed,
    Receipts,
    RecordsSigned,
    ResultSigned,
    Statement,
    check,
)
from secure_fl.nodes.combined import Asked, Combined
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.result_hash import openings, result_hash, update_hash
from secure_fl.types import Cost, Opening

N, D = 3, 2
ASKED = Asked(N, D, (Opening("flags", (N,)), Opening("update", (D,), 0.5)))
A64, B64, HASH = 64 * b"a", 64 * b"b", bytes(range(32))
COMBINED = Combined(
    [True, False, True],
    {1: "node 0 has no share"},
    list(ASKED.openings),
    {"update": HASH.hex()},
    {"flags": np.array([True, False, True]), "update": np.array([0.1, -(2.0**-1074)])},
    HASH,
    Cost(0.5, 0.25, 7, 8, 9, 10.5),
)
ANSWERS: list[Answer] = [
    Done(1.5),
    Receipts({0: A64, 2: B64}, 0.0),
    Statement([0, 2], A64, [Evidence(1, HASH, bytes(32), B64)], {1: "why"}, 2.0),
    ResultSigned(A64, 1.0),
    RecordsSigned(A64, B64, 1.0),
    COMBINED,
]
WRONG: list[Any] = [None, True, -1, "x", [], {}, [[]], [None], {"0": None}, {"7": "x"}, 1e999]
# What a wrong value of the list above happens to be good for.
GOOD = {
    ("Receipts", "receipts"): [{}],
    ("Statement", "opened"): [[]],
    ("Statement", "wrong_shares"): [[]],
    ("Statement", "refused"): [{}],
    ("Combined", "refused"): [{}],
    ("Combined", "opened"): [[]],
    ("Combined", "digests"): [{}],
}


def wire(answer: Answer) -> tuple[dict[str, Any], bytes]:
    header, payload = answer.write()
    return json.loads(json.dumps({**header, "question": 3})), payload


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_the_coordinator_reads_what_was_written(answer: Answer) -> None:
    header, payload = wire(answer)
    check(type(answer), ASKED, header, len(payload))
    read = type(answer).read(header, bytearray(payload))
    for name, told in answer._asdict().items():
        got = getattr(read, name)
        if name == "values":
            assert {key: value.tobytes() for key, value in got.items()} == (
                {key: value.tobytes() for key, value in told.items()}
            )
            assert [value.dtype for value in got.values()] == [v.dtype for v in told.values()]
        elif isinstance(told, list):
            assert list(got) == told, name
        else:
            assert got == told, name


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_fields_that_are_unknown_missing_or_mistyped_are_refused_by_name(answer: Answer) -> None:
    header, payload = wire(answer)
    kind = type(answer)
    with pytest.raises(InputError, match=f"an answer {kind.__name__} has no field 'extra'"):
        check(kind, ASKED, {**header, "extra": 1}, len(payload))
    for name in header.keys() - {"question"}:
        lacking = {key: value for key, value in header.items() if key != name}
        with pytest.raises(InputError, match=f"an answer {kind.__name__} must have '{name}'"):
            check(kind, ASKED, lacking, len(payload))
        for value in WRONG:
            if value not in GOOD.get((kind.__name__, name), []):
                with pytest.raises(InputError, match=f"{name} must be .*; got"):
                    check(kind, ASKED, {**header, name: value}, len(payload))
    with pytest.raises(InputError, match=f"payload of the answer {kind.__name__} must be"):
        check(kind, ASKED, header, len(payload) + 1)


FORGED: list[tuple[Answer, str, Any]] = [
    (ANSWERS[1], "receipts", {"3": A64.hex()}),
    (ANSWERS[1], "receipts", {"01": A64.hex()}),
    (ANSWERS[1], "receipts", {"1": A64.hex()[2:]}),
    (ANSWERS[2], "opened", [0, 0]),
    (ANSWERS[2], "opened", [2, 1]),
    (ANSWERS[2], "opened", [3]),
    (ANSWERS[2], "refused", {"1": "x" * 70_000}),
    (ANSWERS[2], "wrong_shares", [{**Evidence(1, HASH, HASH, A64).write(), "node": 0}]),
    (ANSWERS[2], "wrong_shares", 4 * [Evidence(1, HASH, HASH, A64).write()]),
    (COMBINED, "accepted", [1, 0]),
    (COMBINED, "accepted", [1, 0, 2]),
    (COMBINED, "opened", [["norms", [3], None]]),
    (COMBINED, "opened", [["update", [2], None]]),
    (COMBINED, "opened", [["update", [3], 0.5]]),
    (COMBINED, "opened", [["flags", [3, 1], None]]),
    (COMBINED, "digests", {"other": HASH.hex()}),
    (COMBINED, "values", [["update", [2], "<f8"], ["update", [2], "<f8"]]),
    (COMBINED, "values", [["update", [2**40], "<f8"]]),
    (COMBINED, "values", [["update", [2], "|O"]]),
    (COMBINED, "values", [["update", [-2], "<f8"]]),
    (COMBINED, "values", [["flags", [3], "|b1"]]),
    (COMBINED, "cost", {**COMBINED.cost.__dict__, "rounds": 1.5}),
    (COMBINED, "cost", {**COMBINED.cost.__dict__, "extra": 1}),
]


@pytest.mark.parametrize(("answer", "field", "value"), FORGED)
def test_forged_values_are_refused(answer: Answer, field: str, value: Any) -> None:
    header, payload = wire(answer)
    size = 3 if value == [["flags", [3], "|b1"]] else len(payload)
    with pytest.raises(InputError, match=f"{field} must be "):
        check(type(answer), ASKED, {**header, field: value}, size)


def test_an_error_has_a_name_and_words() -> None:
    assert Failed.read(Failed("InputError", "why").write()[0]) == Failed("InputError", "why")
    for wrong in ({"error": "InputError"}, {"error": 3, "message": "x"}):
        with pytest.raises(InputError, match=r"message|error"):
            Failed.read(wrong)


# --- from a node, over its connection -----------------------------------------------------------

SIGNERS = [simulation_key(9, "hospital", seat) for seat in range(N)]
CONTRACT = Contract(7, bytes(20), tuple(signer.address for signer in SIGNERS))
UPDATES = np.linspace(-1.0, 1.0, N * D).reshape(N, D)


def add(header: dict[str, Any], size: int) -> tuple[dict[str, Any], int]:
    return {**header, "extra": 1}, size


def drop(name: str) -> Callable[[dict[str, Any], int], tuple[dict[str, Any], int]]:
    return lambda header, size: ({k: v for k, v in header.items() if k != name}, size)


# What node 1 forges in its answer of this number.
KINDS = [
    (0, add, "an answer Done has no field 'extra'"),
    (1, drop("receipts"), "an answer Receipts must have 'receipts'"),
    (2, lambda h, size: ({**h, "signature": "00"}, size), "signature must be 64 bytes in hexa"),
    (3, lambda h, size: (h, 1 << 33), "payload of the answer Combined must be 16 bytes; got 85"),
    (4, drop("signature"), "an answer ResultSigned must have 'signature'"),
    (5, lambda h, size: ({**h, "result": None}, size), "result must be 64 bytes in hexadecimal"),
    (0, lambda h, size: ({"error": "InputError"}, 0), "an answer Failed must have 'message'"),
    (3, lambda h, size: ({"working": True}, 1 << 33), "a sign of life must be one word"),
]


@pytest.mark.parametrize(("number", "forge", "said"), KINDS, ids=[said for *_, said in KINDS])
def test_what_a_malicious_node_answers_is_no_answer(
    number: int, forge: Callable[[dict[str, Any], int], Any], said: str
) -> None:
    keys = [simulation_key(9, "node", rank) for rank in range(2)]
    hospitals = [Hospital(i, signer=key, contract=CONTRACT) for i, key in enumerate(SIGNERS)]
    with secure_fl.open_backend("mpc", timeout=60, signers=keys) as opened:
        backend: Any = opened
        channel = backend.node_processes[1].channel
        receive, came = channel.receive_header, []

        def forged(*limit: int) -> tuple[dict[str, Any], int]:
            header, size = receive(*limit)
            if "working" in header:
                return header, size
            came.append(header)
            return forge(header, size) if len(came) == number + 1 else (header, size)

        channel.receive_header = forged
        with pytest.raises(NodeFailure, match=f"node 1.*it answered what is no answer: {said}"):
            play(backend, hospitals)
        assert not backend.running


def play(backend: Any, hospitals: list[Hospital]) -> None:
    session = backend.session("median", hospitals, D)
    submission = session.submit(UPDATES)
    session.check_shares(submission.commitments)
    result = session.aggregate(submission)
    accepted = [bool(flag) for flag in result.accepted]
    said = result_hash(1, accepted, openings(1, result), update_hash(result.update))
    session.sign_result(said, sha256(b"model"))
    rows = [{"round": 1, "result_sha256": said, "candidate_sha256": sha256(b"model")}]
    session.sign_closing(2, sha256(b"final"), json.dumps([rows, []]).encode())
