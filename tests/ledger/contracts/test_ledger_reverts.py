"""Every reason for which the contract refuses, each provoked by the smallest wrong step."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import ledger
from ledger.client.consortium import Consortium
from tests.ledger.conftest import roots
from tests.ledger.contracts import refused_administration, refused_rounds, refused_shares
from tests.ledger.contracts.refusals import Step, reason_of

CONTRACTS = Path(ledger.__file__).parent / "contracts"
CASES = [
    case
    for module in (refused_rounds, refused_shares, refused_administration)
    for case in module.REGISTRY.cases
]


@pytest.mark.parametrize(("phase", "reason", "step"), CASES)
def test_refused(
    phase: str, reason: str, step: Step, to_phase: Callable[[str], Consortium]
) -> None:
    assert reason_of(step, to_phase(phase)) == reason


def test_a_refused_call_leaves_no_trace(to_phase: Callable[[str], Consortium]) -> None:
    client = to_phase("open")
    head = client.head_hash
    good = ("commit_batch", (1, [], False))
    with pytest.raises(ledger.Reverted, match=r"finalize refused .*: ledger: nothing to"):
        client.connection.send([good, ("finalize", (1,))])
    assert client.head_hash == head
    client.commit(1, roots(1))
    assert client.commitments(1) == roots(1)


def test_every_reason_is_tested() -> None:
    sources = " ".join(path.read_text() for path in CONTRACTS.glob("*.vy"))
    reasons = set(re.findall(r'"((?:ledger|membership|reputation|merkle): [^"]+)"', sources))
    assert reasons == {case.values[1] for case in CASES}
