"""What nodes, the dealer and their launchers have loaded in the end: nothing of other roles."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import secure_fl
from ledger.members.keys import simulation_key
from secure_fl.backends import launchers
from secure_fl.files import sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.contract import Contract
from tests.support.processes import gone, parent

N, D = 5, 6
NODES = 2
BOOT = Path(__file__).parents[2] / "support" / "telling_boot.py"
# Rooms that a party of the computation has no business in.
OTHERS = (
    "attacks",
    "configs",
    "eval",
    "ledger.audit",
    "ledger.chains",
    "ledger.client",
    "secure_fl.backends",
    "secure_fl.data",
    "secure_fl.faults",
    "secure_fl.federation",
    "secure_fl.hospital",
    "secure_fl.models",
    "secure_fl.server",
    "secure_fl.settings",
    "secure_fl.simulation",
)


def below(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[set[str]]]]:
    """Modules by program, after a round that uses all that nodes do: rules with a screen and
    weights, receipts, statements, results."""
    folder = tmp_path_factory.mktemp("loaded")
    boot = Path(shutil.copy(BOOT, folder))
    signers = [simulation_key(9, "hospital", i) for i in range(N)]
    contract = Contract(7, bytes(20), tuple(signer.address for signer in signers))
    hospitals = [Hospital(i, signer=s, contract=contract) for i, s in enumerate(signers)]
    keys = [simulation_key(9, "node", rank) for rank in range(NODES)]
    updates = 0.1 * torch.randn(N, D, generator=torch.Generator().manual_seed(0)) + 0.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launchers, "_BOOT", boot)
        patch.setattr(launchers, "_launchers", {})
        with secure_fl.open_backend(
            "mpc", timeout=60, signers=keys, minimum_hospitals=3
        ) as backend:
            pids = {*backend.pids.values(), *(parent(pid) for pid in backend.pids.values())}
            session = backend.session("guarded", hospitals, D)
            submission = session.submit(updates)
            findings = session.check_shares(submission.commitments)
            assert findings is not None
            assert not findings.refused
            reference = updates.mean(0)
            trust = [1.0, 0.5, 1.0, 1.0, 1.0]
            assert session.aggregate(submission, trust, reference).update.abs().max() > 0
            assert session.sign_closing(9, sha256(b"model"), b"[[], []]") is not None
    assert gone(pids)
    found: dict[str, list[set[str]]] = {}
    for path in sorted(folder.glob("secure_fl.*-*")):
        program = path.name.rpartition("-")[0]
        found.setdefault(program, []).append(set(path.read_text().splitlines()))
    return found


def test_all_processes_told(loaded: dict[str, list[set[str]]]) -> None:
    assert {program: len(told) for program, told in loaded.items()} == {
        "secure_fl.nodes.node": NODES + 1,
        "secure_fl.nodes.dealer": 1 + 1,
    }
    for told in loaded["secure_fl.nodes.node"]:
        assert {"secure_fl.nodes.inbox", "crypten"} <= told
    signing = ["secure_fl.nodes.attestation" in told for told in loaded["secure_fl.nodes.node"]]
    assert sorted(signing) == [False] + [True] * NODES  # what signs, no launcher has


@pytest.mark.parametrize("room", OTHERS)
def test_a_party_has_loaded_nothing_of_another_role(
    room: str, loaded: dict[str, list[set[str]]]
) -> None:
    for program, lists in loaded.items():
        for told in lists:
            assert not [name for name in told if below(name, room)], program


def test_the_dealer_knows_no_rule_and_no_ledger_key(loaded: dict[str, list[set[str]]]) -> None:
    rooms = ("secure_fl.aggregation", "ledger.members", "secure_fl.nodes.inbox", "torch")
    for told in loaded["secure_fl.nodes.dealer"]:
        assert not [name for name in told if any(below(name, room) for room in rooms)]
