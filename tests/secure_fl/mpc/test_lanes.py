"""Blocks of a circuit evaluated side by side, over connections of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import secure_fl
from eval.bench.slow_link import SlowLink
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.errors import NodeFailure
from secure_fl.mpc.handshakes import connect_peers, listen
from secure_fl.mpc.planning import Network, block_width
from tests.secure_fl.backends.test_mpc_equals_fixed import compare
from tests.secure_fl.backends.test_mpc_transcripts import CHI_SQUARE_LIMIT, chi_square, fixed_bytes
from tests.support.oracles import case
from tests.support.processes import gone
from tests.support.recording import DEALER, Recorded


@pytest.mark.parametrize(
    ("nodes", "lanes"), [(2, 3), pytest.param(3, 2, marks=pytest.mark.nightly)]
)
def test_the_same_bits_and_bytes_on_several_lanes(nodes: int, lanes: int) -> None:
    d = 64 * 7 + 1  # eight words: blocks of unequal widths
    costs = []
    for count in (1, lanes):
        with open_backend("mpc", nodes=nodes, timeout=60, network=Network(lanes=count)) as backend:
            for name in ("median", "trimmed_mean", "algorithm2"):
                compare(backend, name, *case("plain", 6, d))
            x, *_ = case("ties", 5, d)
            costs.append(secure_fl.aggregate(x, "median", backend).cost)
    one, several = costs
    assert several.bytes_online == one.bytes_online
    assert several.bytes_offline == one.bytes_offline
    assert several.rounds > one.rounds  # blocks have rounds of their own, side by side


def test_lanes_carry_uniform_words_of_public_sizes(tmp_path: Path) -> None:
    """As on one connection: different inputs, the same sizes; the same input, no word twice."""
    n, d, name = 5, 64 * 8, "trimmed_mean"
    network = Network(lanes=2)
    root = np.ones(d)
    with open_backend("mpc", timeout=60, transcript=tmp_path, network=network) as backend:
        recorded = Recorded(backend, tmp_path)
        fixed = [recorded.aggregate(name, np.zeros((n, d)), root)[1] for _ in range(4)]
        other = recorded.aggregate(name, case("ties", n, d)[0], root)[1]
    lanes = sorted(file for file in other if "-lane-" in file)
    assert lanes == ["node-0-from-node-1-lane-1.bin", "node-1-from-node-0-lane-1.bin"]
    # Towards nodes from the coordinator, and towards the dealer, decimal numbers are public.
    received = [file for file in other if "control" not in file and file != DEALER]
    assert [len(fixed[0][file]) for file in received] == [len(other[file]) for file in received]
    for file in lanes:
        table = np.stack([np.frombuffer(run[file], np.uint8) for run in fixed])
        assert table.shape[1] > 10_000  # nearly half of the work
        assert chi_square(table.ravel()) < CHI_SQUARE_LIMIT
        assert fixed_bytes(table) < 8
    # Masks differ between lanes too, and between blocks: nothing that one of them carried, and no
    # sum of what both nodes sent, comes again.
    sent = [np.concatenate([np.frombuffer(run[f], "<u8") for run in fixed]) for f in lanes]
    for words in (*sent, sent[0] + sent[1], sent[0] ^ sent[1]):
        assert len(np.unique(words)) == len(words)


def test_every_lane_has_work_and_none_more_than_memory_allows() -> None:
    shapes, params = [(18, 20, 100)], {"ranks": [9, 10], "method": "radix"}
    assert block_width("order", shapes, params) == 100
    assert block_width("order", shapes, params, lanes=3) == 34
    large = [(18, 20, 1 << 20)]
    assert block_width("order", large, params, lanes=3) == block_width("order", large, params)


def test_lanes_do_not_meet() -> None:
    """Three nodes, three lanes, used in different orders: each receives its own lane's words."""
    servers = [listen() for _ in range(3)]
    ports = [server.getsockname()[1] for server in servers]
    token = os.urandom(32)

    def node(rank: int) -> list[list[int]]:
        mesh = connect_peers(rank, ports, servers[rank], token, 30.0, None, 3)

        def use(lane: int) -> list[int]:
            time.sleep(0.02 * ((lane + rank) % 3))
            mine = np.full(200_000, 10 * lane + rank)  # more than socket buffers hold
            theirs = mesh.lanes[lane].exchange(mine)
            assert all((array == array[0]).all() for array in theirs)
            return [int(array[0]) for array in theirs]

        with ThreadPoolExecutor(3) as lanes:
            found = list(lanes.map(use, range(3)))
        assert mesh.rounds == 3
        assert mesh.bytes_sent == 3 * 2 * 8 * 200_000
        mesh.close()
        return found

    with ThreadPoolExecutor(3) as pool:
        for rank, found in enumerate(pool.map(node, range(3))):
            others = [other for other in range(3) if other != rank]
            assert found == [[10 * lane + other for other in others] for lane in range(3)]


def repeat(x: torch.Tensor, backend: Backend, pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        secure_fl.aggregate(x, "median", backend)


def test_a_node_killed_under_busy_lanes_is_named() -> None:
    x = torch.randn(20, 300_000, generator=torch.Generator().manual_seed(0)) / 10
    with SlowLink(2.0, 500.0) as link:
        network = Network(latency_ms=2.0, mbit=500.0, lanes=3)
        backend = open_backend("mpc", nodes=2, timeout=30, network=network, route=link.route)
        pids = backend.pids
        killer = threading.Timer(3.0, os.kill, (pids["node 1"], signal.SIGKILL))
        killer.start()
        with pytest.raises(NodeFailure, match="node 1 stopped unexpectedly"), backend:
            repeat(x, backend, pids["node 0"])
        killer.join()
    assert gone(pids.values())
