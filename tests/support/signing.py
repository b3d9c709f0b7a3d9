"""Hospitals and nodes that sign for a contract, and how tests read what they signed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ledger.members.keys import recover, simulation_key
from secure_fl.backends.session import Backend
from secure_fl.data import Split
from secure_fl.faults import Fault
from secure_fl.files import sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.simulation.parties import make_hospitals
from tests.support.oracles import case

N, D = 5, 6
X = case("plain", N, D, seed=8)[0]
KEYS = [simulation_key(9, "node", rank) for rank in range(2)]
HOSPITALS = tuple(simulation_key(9, "hospital", i) for i in range(N))
CONTRACT = Contract(7, bytes(range(20)), tuple(key.address for key in HOSPITALS))
ELSEWHERE = CONTRACT._replace(address=bytes(20))
ROWS = Split(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
CANDIDATE = sha256(b"model")
CONTRACTS = count()
# Rounds in which node 1 denies a share: it was told at its start.
DENIED = 7
CHEATING = "secure_fl.simulation.cheating_node"


def hospitals_of(contract: Contract, faults: Sequence[Fault] = ()) -> tuple[Hospital, ...]:
    return make_hospitals([ROWS] * N, None, contract, HOSPITALS, faults)


def opened(
    backend: Backend,
    *faults: Fault,
    contract: Contract | None = None,
    hospitals: Sequence[Hospital] | None = None,
    rule: str = "median",
) -> Any:
    """A session for a contract of its own: a node takes a round of a contract once."""
    address = bytes.fromhex(sha256(str(next(CONTRACTS)).encode())[:40])
    contract = contract or CONTRACT._replace(address=address)
    return backend.session(rule, hospitals or hospitals_of(contract, faults), D)


def processes_of(backend: Any) -> list[str]:
    """Command lines of all processes."""
    place = Path("/proc")
    return [(place / str(pid) / "cmdline").read_text() for pid in backend.pids.values()]


def signer_of(digest: bytes, signature: Any) -> bytes | None:
    return recover(digest, signature)


def combined(session: Any, number: int = 1) -> tuple[Any, str]:
    """One round as far as its result, and the result's hash."""
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert findings.wrong_shares == findings.denials == ()
    result = session.aggregate(submission)
    accepted = verdicts_on_hospitals(result.accepted, range(N))
    digest = result_hash(number, accepted, openings(number, result), update_hash(result.update))
    return result, digest
