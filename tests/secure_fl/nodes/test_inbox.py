"""A node's door: which shares it takes, by what it remembers them, and what it records."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ledger.protocol.merkle import merkle_root, share_digest
from secure_fl.aggregation import build_rule
from secure_fl.nodes.inbox import NodeSession
from secure_fl.nodes.memory import Memory
from secure_fl.nodes.result_hash import RECORDED_NUMBERS, openings
from secure_fl.nodes.shares import SALT_BYTES, Delivery, ShareMessage
from secure_fl.types import AggregateResult, Opening

RULE = build_rule("median", max_abs=0.5)  # 16 bits a coordinate
SURE = 8  # coordinates: 128 bits of randomness do not come twice


def session(folder: Path, dim: int) -> NodeSession:
    assert RULE.bits == 16
    return NodeSession(RULE, 3, dim, (), 0, 1, Memory(folder / f"memory-{dim}"))


def deliver(session: NodeSession, hospital: int, salt: int, value: int = 5) -> bytes:
    """Put a share into the inbox, alone in its tree; returns its root."""
    share = np.full(session.dim, value, "<u4").tobytes()
    message = ShareMessage(bytes([salt]) * SALT_BYTES, share, [])
    session.inbox[hospital] = Delivery(message)
    return merkle_root([share_digest(message.salt, message.share)])


@pytest.mark.parametrize(("dim", "again"), [(SURE, False), (SURE - 1, True)])
def test_a_long_share_is_remembered_without_its_salt(tmp_path: Path, dim: int, again: bool) -> None:
    """Under another salt it is no other share; a short one may come twice by chance."""
    node = session(tmp_path, dim)
    rows, refused = node.opened({0: deliver(node, 0, salt=1)})
    assert rows.keys() == {0}
    assert refused == {}
    rows, refused = node.opened({1: deliver(node, 1, salt=2)})
    assert (1 in rows) == again
    assert refused == ({} if again else {1: "node 0 took this share before"})
    for held in rows.values():
        assert held.tolist() == [5] * dim


def test_two_hospitals_with_one_share_count_for_one(tmp_path: Path) -> None:
    node = session(tmp_path, SURE)
    roots = {hospital: deliver(node, hospital, salt=hospital) for hospital in (0, 1)}
    rows, refused = node.opened(roots)
    assert rows.keys() == {0}
    assert refused == {1: "node 0 took this share before"}


def test_what_was_delivered_for_one_round_is_gone_in_the_next(tmp_path: Path) -> None:
    node = session(tmp_path, SURE)
    late = deliver(node, 1, salt=1)
    node.opened({0: deliver(node, 0, salt=2, value=6)})
    assert node.opened({1: late}) == ({}, {1: "node 0 has no share"})


def test_a_share_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, real = tmp_path / f"memory-{SURE}", [], os.fsync

    def seen(file: int) -> None:
        real(file)
        synced.append(path.read_text().count("\n"))

    monkeypatch.setattr(os, "fsync", seen)
    node = session(tmp_path, SURE)
    node.opened({0: deliver(node, 0, salt=1)})
    node.memory.claim(1, bytes(20), 1)
    assert synced == [1, 2]


@pytest.mark.parametrize("length", [RECORDED_NUMBERS, RECORDED_NUMBERS + 1])
def test_short_openings_are_recorded_whole_and_long_ones_by_hash(length: int) -> None:
    assert RECORDED_NUMBERS == 64
    update = torch.arange(length, dtype=torch.float64)
    result = AggregateResult(
        update, torch.ones(3, dtype=torch.bool), opened=[Opening("update", (length,), 1.0)]
    )
    (row,) = openings(1, result)
    assert ("value" in row) == (length == 64)
    assert len(row["sha256"]) == 64
