"""The client on a real EVM node: the same rounds, clear errors, a node that goes and returns."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger.chains.node import NodeChain
from ledger.chains.rpc import JsonRpc
from ledger.client.consortium import Consortium
from ledger.errors import ContractMissing, NodeUnavailable, NoFunds, WrongChain
from ledger.members.members import HOSPITAL, Members
from ledger.protocol import contract
from ledger.protocol.contract import Log
from ledger.protocol.parameters import Parameters
from tests.ledger.conftest import (
    CANDIDATE,
    GOOD,
    HOSPITALS,
    MODEL,
    NODES,
    RESULT,
    VALIDATORS,
    digest,
    play_round,
    play_three_hundred,
    roots,
    small_chain,
)
from tests.support.anvil import CHAIN_ID, Anvil, serving
from tests.support.forwarder import Forwarder, forwarding

PARAMETERS = Parameters(quorum=2)
pytestmark = pytest.mark.timeout(60)
KEEP = ("--state-interval", "1")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with serving(tmp_path_factory.mktemp("node")) as node:
        yield node


def members(seed: int) -> Members:
    return Members.simulated(seed, HOSPITALS, NODES, VALIDATORS)


def connected(node: Anvil, seed: int, patience: float = 20, **options: Any) -> Consortium:
    """A consortium of its own on the node."""
    keys = members(seed)
    node.fund(keys.coordinator.address)
    return ledger.connect(
        options.pop("url", node.url),
        keys,
        chain_id=CHAIN_ID,
        parameters=PARAMETERS,
        patience=patience,
        **options,
    )


def recorded(node: Anvil, client: Consortium) -> Counter[tuple[str, int | None, int | None]]:
    """Every event of the contract, as the node holds it: name, round, hospital or validator."""
    filters = {"address": "0x" + client.connection.address.hex(), "fromBlock": "0x0"}
    counted: Counter[tuple[str, int | None, int | None]] = Counter()
    for log in JsonRpc(node.url).one("eth_getLogs", filters):
        raw = Log(
            tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
            bytes.fromhex(log["data"][2:]),
        )
        event = contract.decode_event(raw)
        who = event.args.get("hospital", event.args.get("validator", event.args.get("node")))
        counted[event.name, event.args.get("round"), who] += 1
    return counted


def round_events(round_number: int) -> dict[tuple[str, int, int | None], int]:
    """What one round of `play_round` leaves, each exactly once."""
    single = ("RoundOpened", "CommitmentsClosed", "AggregateRecorded", "RoundFinalized")
    events: dict[tuple[str, int, int | None], int] = {(n, round_number, None): 1 for n in single}
    events |= {("Committed", round_number, i): 1 for i in range(HOSPITALS)}
    events |= {("SharesAttested", round_number, i): 1 for i in range(NODES)}
    return events | {("Attested", round_number, i): 1 for i in range(VALIDATORS)}


def assert_once(node: Anvil, client: Consortium, rounds: int, extra: int = 0) -> None:
    """Every event of the rounds is there once, none is there twice, no transaction is lost."""
    counted = recorded(node, client)
    assert max(n for key, n in counted.items() if key[1] is not None) == 1
    for number in range(1, rounds + 1):
        expected = round_events(number)
        assert {key: counted[key] for key in expected} == expected
    # Creation, three registrations, and six transactions a round.
    sender = client.members.coordinator.address
    assert client.connection.chain.nonce(sender) == 4 + 6 * rounds + extra


# ---- the same as in process ----


@pytest.mark.parametrize("mode", ["each", "merkle"])
def test_a_node_comes_to_the_same_outcomes(node: Anvil, mode: str) -> None:
    here, there = small_chain(seed=31, mode=mode), connected(node, 31 + len(mode), mode=mode)
    for number, verdict in enumerate([[False, True, True, None], [False, True, False, True]], 1):
        metrics = [(0.8 - 0.1 * number, 0.5, 0.7)] * VALIDATORS
        ours, theirs = (play_round(c, number, verdict, metrics) for c in (here, there))
        assert ours == theirs
    assert theirs.status == "abnormal"
    assert there.reputations() == here.reputations()
    assert there.committed() == here.committed()
    assert there.commitments(2) == roots(2)


def test_a_refusal_has_the_contracts_words_and_sends_nothing(node: Anvil) -> None:
    client = connected(node, 41)
    client.open_round(1, MODEL)
    sender = client.members.coordinator.address
    before = client.connection.chain.nonce(sender)
    with pytest.raises(ledger.Reverted) as caught:
        client.finalize(1)
    assert caught.value.reason == "ledger: nothing to finalize"
    signed = client.sign_commitment(0, 1, MODEL, digest("x"), client.members.hospitals[1])
    with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
        client.submit_commitments(1, [signed])
    assert client.connection.chain.nonce(sender) == before
    client.commit(1, roots(1))
    assert client.commitments(1) == roots(1)


def test_a_refusal_behind_another_call_keeps_what_was_before_it(node: Anvil) -> None:
    """A node's block holds a failed transaction too; the client tells it by its receipt."""
    client = connected(node, 42)
    client.open_round(1, MODEL)
    client.connection.reach(client.connection.chain.height + 2)
    batch = [("commit_batch", (1, [], True)), ("open_round", (2, MODEL))]
    with pytest.raises(ledger.Reverted) as caught:
        client.connection.send(batch)
    assert caught.value.reason == "ledger: a round is under way"
    assert client.connection.read("phase") == 2


def test_three_hundred_hospitals_under_one_root_on_a_node(node: Anvil) -> None:
    keys = Members.simulated(43, 300, 1, 1)
    node.fund(keys.coordinator.address)
    client = ledger.connect(
        node.url, keys, chain_id=CHAIN_ID, parameters=Parameters(quorum=1), mode="merkle"
    )
    play_three_hundred(client)


def test_another_program_takes_up_the_contract_in_the_middle_of_a_round(node: Anvil) -> None:
    first = connected(node, 44)
    first.open_round(1, MODEL)
    second = ledger.connect(
        node.url, first.members, chain_id=CHAIN_ID, contract=first.connection.address
    )
    # Both send with the coordinator's key, in turns: the numbers are taken from the node.
    second.commit(1, roots(1))
    first.record_aggregate(1, RESULT, [True] * 4, CANDIDATE)
    second.attest(1, GOOD, CANDIDATE)
    assert first.finalize(1).model == CANDIDATE
    assert second.model_hash == CANDIDATE
    assert second.connection.read("count", HOSPITAL) == HOSPITALS
    second.register_all()  # nobody is missing: nothing is sent
    assert_once(node, first, 1, extra=0)


# ---- clear errors ----


def test_another_chain_is_refused(node: Anvil) -> None:
    with pytest.raises(WrongChain, match=f"serves chain {CHAIN_ID}, not chain 1;"):
        NodeChain(node.url, 1)


def test_a_key_without_funds_is_named(node: Anvil) -> None:
    keys = members(51)
    with pytest.raises(NoFunds, match=rf"0x{keys.coordinator.address.hex()} holds 0 wei"):
        ledger.connect(node.url, keys, chain_id=CHAIN_ID, parameters=PARAMETERS)
    # The transaction that was refused is forgotten: with funds the same call goes through.
    assert connected(node, 51).connection.read("count", HOSPITAL) == HOSPITALS


def test_a_missing_contract_is_named(node: Anvil) -> None:
    address = bytes(range(20))

    def attach() -> Consortium:
        return ledger.connect(node.url, members(52), chain_id=CHAIN_ID, contract=address)

    with pytest.raises(ContractMissing, match=f"no contract at 0x{address.hex()} on chain"):
        attach()
    # Code that returns 32 bytes of zero to everything is not a consortium's contract.
    JsonRpc(node.url).one("anvil_setCode", "0x" + address.hex(), "0x60206000f3")
    with pytest.raises(ContractMissing, match="not a consortium's of this version"):
        attach()
    JsonRpc(node.url).one("anvil_setCode", "0x" + address.hex(), "0x00")
    with pytest.raises(ContractMissing, match="is not a consortium's"):
        attach()


def test_a_contract_that_vanishes_is_noticed(node: Anvil) -> None:
    """A node that answers from another history takes calls to nobody for success."""
    client = connected(node, 53)
    JsonRpc(node.url).one("anvil_setCode", "0x" + client.connection.address.hex(), "0x")
    client.connection.chain.rpc.outages += 1  # type: ignore[attr-defined]  # as after a return
    with pytest.raises(ContractMissing):
        client.open_round(1, MODEL)


@pytest.mark.parametrize("url", ["", "localhost:8545", "ftp://localhost", "http://"])
def test_a_bad_url_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="url must be http://"):
        JsonRpc(url)


def test_nobody_there_is_said_within_the_patience() -> None:
    with pytest.raises(NodeUnavailable, match=r"no answer from http://127\.0\.0\.1:1 within 0\.2"):
        NodeChain("http://127.0.0.1:1", CHAIN_ID, patience=0.2)


# ---- a node that goes and returns ----


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Anvil]:
    """A node that a test may end."""
    with serving(tmp_path, *KEEP) as node:
        yield node


def returning(node: Anvil, seconds: float = 0.7) -> threading.Timer:
    timer = threading.Timer(seconds, node.start, KEEP)
    timer.start()
    return timer


STEPS: list[Callable[[Consortium], object]] = [
    lambda c: c.open_round(2, c.model_hash),
    lambda c: c.commit(2, roots(2)),
    lambda c: c.record_aggregate(2, RESULT, [True, False, True, True], CANDIDATE),
    lambda c: c.attest(2, GOOD, CANDIDATE),
    lambda c: c.finalize(2),
]


@pytest.mark.parametrize("away", range(len(STEPS)))
def test_the_round_goes_on_when_the_node_returns(mortal: Anvil, away: int) -> None:
    client = connected(mortal, 61)
    play_round(client, 1)
    for number, step in enumerate(STEPS):
        if number == away:
            mortal.stop()
            timer = returning(mortal)
        step(client)
    timer.join()
    assert client.reputations() == [1.0, 0.5, 1.0, 1.0]
    assert_once(mortal, client, 2)


def test_a_node_that_lost_its_newest_blocks_gets_them_again(tmp_path: Path) -> None:
    """Killed, not stopped: it returns from an old file, without half of the round."""
    node = Anvil(tmp_path)
    node.start()
    try:
        client = connected(node, 62)
        play_round(client, 1)
        client.open_round(2, client.model_hash)
        node.stop()  # writes its file here
        node.start()
        client.commit(2, roots(2))
        client.record_aggregate(2, RESULT, [True, False, True, True], CANDIDATE)
        before = client.connection.chain.height
        node.kill()
        node.start()
        assert client.connection.chain.height < before
        assert client.connection.read("phase") == 1  # open: the commitments are gone
        client.attest(2, GOOD, CANDIDATE)
        assert client.finalize(2).reputations == [1.0, 0.5, 1.0, 1.0]
        assert_once(node, client, 2)
    finally:
        node.kill()


def test_a_call_that_gave_up_is_made_again(mortal: Anvil) -> None:
    """Sent but in no block when the node dies, with an impatient client."""
    client = connected(mortal, 63, patience=0.5)
    play_round(client, 1)
    client.open_round(2, client.model_hash)
    JsonRpc(mortal.url).one("evm_setAutomine", False)
    with pytest.raises(NodeUnavailable, match=r"put no block around commit_batch within 0\.5 s"):
        client.commit(2, roots(2))
    mortal.stop()
    with pytest.raises(NodeUnavailable, match="nothing is recorded twice"):
        client.commit(2, roots(2))
    mortal.start(*KEEP)
    client.commit(2, roots(2))
    for step in STEPS[2:]:
        step(client)
    assert_once(mortal, client, 2)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (0, 2)], ids=["in a row", "with a gap"])
def test_transactions_that_a_killed_program_left_waiting_are_not_replaced(
    node: Anvil, numbers: tuple[int, ...]
) -> None:
    """The node holds them for its next blocks; those of the next program go behind them."""
    rpc, keys = JsonRpc(node.url), members(70 + len(numbers))
    sender = keys.coordinator
    rpc.one("evm_setAutomine", False)
    try:
        for number in numbers:
            fields = {"to": "0x" + "11" * 20, "nonce": number, "gasPrice": 10**12}
            node.send(sender.secret, wait=False, **fields)
        later = threading.Timer(0.5, rpc.one, ("evm_setAutomine", True))
        mine = threading.Timer(0.6, rpc.one, ("evm_mine",))
        for timer in (later, mine):
            timer.start()
        client = ledger.connect(
            node.url, keys, chain_id=CHAIN_ID, parameters=PARAMETERS, patience=20
        )
        for timer in (later, mine):
            timer.join()
    finally:
        rpc.one("evm_setAutomine", True)
    play_round(client, 1)
    assert_once(node, client, 1, extra=len(numbers))


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_getTransactionReceipt"])
def test_a_lost_answer_is_not_a_lost_transaction(node: Anvil, method: str) -> None:
    with forwarding(node.url) as url:
        client = connected(node, 71 + len(method), url=url)
        for step in (lambda: play_round(client, 1), lambda: play_round(client, 2)):
            Forwarder.lose = {method}
            step()
            assert Forwarder.lose == set()
        assert client.connection.chain.rpc.outages == 2  # type: ignore[attr-defined]
        assert_once(node, client, 2)
        client.connection.chain.rpc.close()  # type: ignore[attr-defined]


# ---- fees ----


@pytest.mark.parametrize("lacks", ["", "eth_maxPriorityFeePerGas"])
def test_transactions_tip_what_the_node_proposes_and_nothing_where_it_does_not(
    node: Anvil, lacks: str
) -> None:
    rpc = JsonRpc(node.url)
    proposed = int(rpc.one("eth_maxPriorityFeePerGas"), 16)
    assert proposed > 0
    with forwarding(node.url, lacks) as url:
        client = connected(node, 91 + len(lacks), url=url)
        client.open_round(1, MODEL)
        (sent,) = rpc.one("eth_getBlockByNumber", "latest", True)["transactions"]
        assert int(sent["maxPriorityFeePerGas"], 16) == (0 if lacks else proposed)
        assert int(sent["maxFeePerGas"], 16) >= int(sent["maxPriorityFeePerGas"], 16)
        client.connection.chain.rpc.close()  # type: ignore[attr-defined]
