"""Reading a node's chain: what cannot be audited is named, what changes meanwhile is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.audit.chain_file import audit
from ledger.chains import capture
from ledger.chains.export import VisitedLine
from ledger.chains.rpc import JsonRpc
from ledger.errors import ContractMissing, LedgerError
from ledger.protocol import contract
from tests.ledger.chains.test_ledger_node import connected
from tests.ledger.conftest import MODEL, roots
from tests.support.anvil import CHAIN_ID, Anvil, serving

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with serving(tmp_path_factory.mktemp("capture")) as node:
        yield node


# ---- what cannot be executed again ----


def test_a_call_through_another_contract_is_named(node: Anvil, tmp_path: Path) -> None:
    """Anybody may finalize, a contract too; its code is not in the file."""
    client = connected(node, 83)
    client.open_round(1, MODEL)
    client.commit(1, roots(1))
    client.record_aggregate(1, bytes(31) + b"\x01", [True] * 4, MODEL)
    client.attest(1, [(0.5, 0.5, 0.5)] * 3, MODEL)
    # calldatacopy; call(gas, contract, 0, 0, calldatasize, 0, 0); stop
    code = "0x363d3d373d3d363d3d73" + client.connection.address.hex() + "5af100"
    between = bytes([0x42] * 20)
    JsonRpc(node.url).one("anvil_setCode", "0x" + between.hex(), code)
    data = contract.encode_call("finalize", 1)
    node.send(bytes([9] * 32), to=between, data=data, gasPrice=10**10)
    assert client.connection.read("phase") == 0
    client.export(tmp_path / "chain.jsonl")
    (fault,) = audit(tmp_path / "chain.jsonl").faults
    assert (
        f"a transaction to 0x{between.hex()} reached the contract through another one's"
        in fault.fault
    )


def test_a_member_may_send_by_itself_in_any_older_type(node: Anvil, tmp_path: Path) -> None:
    client = connected(node, 84)
    client.open_round(1, MODEL)
    to = client.connection.address
    kinds: list[dict[str, Any]] = [{}, {"accessList": []}]
    for hospital, kind in enumerate(kinds):
        signed = client.sign_commitment(hospital, 1, MODEL, roots(1)[hospital])
        data = contract.encode_call("commit_batch", 1, [signed.words()], False)
        secret = client.members.hospitals[hospital].secret
        # A key that has sent something else before has another number than the private EVM gives.
        node.send(secret, to=bytes([0x11] * 20), data="0x", gasPrice=10**10)
        node.send(secret, to=to, data=data, gasPrice=10**10, **kind)
    client.export(tmp_path / "chain.jsonl")
    report = audit(tmp_path / "chain.jsonl")
    assert report.faults == []
    assert sorted(report.rounds[-1].commitments) == [0, 1]


# ---- the node while it is read ----


def test_no_contract_no_file(node: Anvil, tmp_path: Path) -> None:
    client = connected(node, 85)
    client.connection.address = bytes(range(20))
    with pytest.raises(ContractMissing, match="knows no event of a contract at 0x000102"):
        client.export(tmp_path / "chain.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_blocks_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "BLOCKS_AT_ONCE", 1)
    with serving(tmp_path) as node:
        client = connected(node, 86)
        rpc = JsonRpc(node.url)
        before = rpc.one("evm_snapshot")
        client.open_round(1, MODEL)
        client.abandon_round(1)
        lines = client.connection.chain.lines(client.connection.address)
        read = [next(lines) for _ in range(6)]  # start, creation, registrations, round 1 opened
        assert rpc.one("evm_revert", before)
        rpc.one("evm_increaseTime", 100)
        rpc.one("anvil_mine", hex(3))
        with pytest.raises(LedgerError, match="changed while they were read"):
            list(lines)
        assert isinstance(read[-1], VisitedLine)


def test_a_node_that_states_wrong_hashes_is_refused(node: Anvil) -> None:
    client = connected(node, 87)

    class Liar(JsonRpc):
        def batch(self, requests: Any) -> list[Any]:
            answers = super().batch(requests)
            if requests[0][0] == "eth_getBlockByNumber" and requests[0][1][1] is True:
                answers[2]["timestamp"] = "0x1"
            return answers

    liar = Liar(client.connection.chain.rpc.place)  # type: ignore[attr-defined]
    with pytest.raises(LedgerError, match="does not have the hash 0x"):
        list(capture.node_lines(liar, CHAIN_ID, client.connection.address))
