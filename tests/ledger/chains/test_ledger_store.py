"""Memory stays flat: the store forgets the past and loses nothing of the present."""

from pathlib import Path

import pytest

from ledger.audit.chain_file import audit
from ledger.chains import in_process as chain_module
from ledger.chains.export import BlockLine
from ledger.chains.store import BlockFile
from ledger.members.keys import keccak
from tests.ledger.conftest import play_round, small_chain


def test_a_pruned_chain_goes_on_as_if_nothing_were_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pruned after every block and never: the same hashes, reputations and audit."""
    heads, reports = [], []
    for every in (1, 10**9):
        monkeypatch.setattr(chain_module, "PRUNE_EVERY", every)
        client = small_chain(seed=91)
        for number in range(1, 6):
            play_round(client, number, [False, True, True, number % 2 == 0])
            client.administration.set_parameters(chain_parameters(number))
            if client.suspended()[0]:
                client.administration.reinstate(0)
        client.export(tmp_path / "chain.jsonl")
        heads.append(client.head_hash)
        reports.append(audit(tmp_path / "chain.jsonl"))
        assert client.connection.chain.code(client.connection.address)
    assert heads[0] == heads[1] == reports[0].head
    assert reports[0] == reports[1]
    assert reports[0].faults == []


def chain_parameters(number: int) -> object:
    from ledger.protocol.parameters import Parameters

    return Parameters(quorum=2, growth=0.1 + number / 100)


def test_the_store_does_not_grow_with_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "PRUNE_EVERY", 8)
    monkeypatch.setattr(chain_module, "HEADERS", 16)
    client = small_chain(seed=92)
    sizes = []
    for number in range(1, 25):
        play_round(client, number)
        sizes.append(len(client.connection.chain._store.kv_store))  # type: ignore[attr-defined]
    assert max(sizes[12:]) <= max(sizes[:12])


def test_blocks_come_back_from_the_file_and_can_be_cut_off() -> None:
    blocks = BlockFile()
    lines = [BlockLine(i + 1, keccak(bytes([i])), bytes([i]) * (i * 100)) for i in range(5)]
    for line in lines:
        blocks.append(line)
    assert list(blocks) == lines
    assert (blocks[1:3], blocks[-1], len(blocks)) == (lines[1:3], lines[4], 5)
    blocks.truncate(2)
    blocks.append(lines[2])
    assert list(blocks) == lines[:3]
    blocks.truncate(0)
    assert list(blocks) == []
    with pytest.raises(IndexError):
        blocks[0]
