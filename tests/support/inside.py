"""Nodes and a dealer as threads of this process, so that a test can make one of the nodes cheat."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from secure_fl.aggregation.ops import Updates
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.aggregation.running import run
from secure_fl.errors import NodeFailure
from secure_fl.hospital.sharing import split
from secure_fl.mpc.communicator import TcpCommunicator, _put_in_place
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.correlations import Dealer, NodeSource, serve
from secure_fl.mpc.dealer_ring import DealerRing
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import Nonces, Stream, fresh_stream
from secure_fl.mpc.shared import SharedOps, wrap
from secure_fl.mpc.transport import Channel, Mesh

TIMEOUT = 20.0
Change = Callable[[int, np.ndarray], np.ndarray]
"""From the number of an exchange and what is to be sent: what is sent. May change it in place."""


class Cheating(Mesh):
    """The network of a node that sends something else now and then."""

    def __init__(self, rank: int, channels: dict[int, Channel], change: Change) -> None:
        super().__init__(rank, channels)
        self._change = change
        self.exchanges = 0

    def exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        number, self.exchanges = self.exchanges, self.exchanges + 1
        return super().exchange(self._change(number, mine))


@dataclass
class Outcome:
    """What a node found: the update, who was accepted, its ops; or why it gave up."""

    update: torch.Tensor | None = None
    accepted: torch.Tensor | None = None
    ops: SharedOps | None = None
    failure: NodeFailure | None = None
    exchanges: int = 0


def _pair() -> tuple[Channel, Channel]:
    made = [Channel(sock, "peer") for sock in socket.socketpair()]
    for channel in made:
        channel.socket.settimeout(TIMEOUT)
    return made[0], made[1]


@contextmanager
def crypten_over(mesh: Mesh) -> Iterator[None]:
    """CrypTen's tensors ask how many parties there are; nothing is sent by its own operators."""
    crypten = import_crypten()
    before, instance = crypten.communicator.DistributedCommunicator, TcpCommunicator._instance
    _put_in_place(mesh, None)
    for kept in crypten.generators.values():  # of empty tensors: nothing is drawn from them
        kept.setdefault(torch.device("cpu"), torch.Generator())
    try:
        yield
    finally:
        crypten.communicator.DistributedCommunicator = before
        TcpCommunicator._instance = instance


@contextmanager
def _wires(nodes: int) -> Iterator[tuple[list[dict[int, Channel]], tuple[Channel, Channel]]]:
    between: list[dict[int, Channel]] = [{} for _ in range(nodes)]
    for one in range(nodes):
        for other in range(one):
            between[one][other], between[other][one] = _pair()
    dealer = _pair()
    try:
        yield between, dealer
    finally:
        for channel in (*dealer, *(c for channels in between for c in channels.values())):
            channel.close()


def play(
    rule: Pipeline,
    x: np.ndarray,
    cheat: Change = lambda number, mine: mine,
    nodes: int = 2,
    minimum: int = 1,
    network: Network | None = None,
    shift: np.ndarray | None = None,
    **given: Any,
) -> list[Outcome]:
    """Aggregate x (n, d) once; the last node sends what `cheat` makes of its words.

    Args:
        shift: whole steps (n, d) that the last node adds to the shares which it received.
        given: `reputation` (n,) and `reference` (d,).
    """
    n, d = x.shape
    reputation = torch.as_tensor(given.get("reputation", np.ones(n)), dtype=torch.float64)
    reference = given.get("reference")

    def act(mesh: Cheating, ops: SharedOps, own: np.ndarray) -> Outcome:
        if mesh.rank == nodes - 1 and shift is not None:
            own = (own + shift) & ((1 << rule.bits) - 1)
        try:
            update, accepted, _ = run(
                rule,
                rule.init(),
                ops,
                wrap(own, rule.bits),
                range(n),
                reputation,
                torch.ones(n, dtype=torch.float64),
                d,
                None if reference is None else torch.as_tensor(reference),
                minimum,
            )
            ops.finish()
        except NodeFailure as failure:
            return Outcome(failure=failure, exchanges=mesh.exchanges)
        return Outcome(update, accepted, ops, exchanges=mesh.exchanges)

    return _together(act, x, rule.bits, nodes, cheat, network)


def compute(
    program: Callable[[SharedOps, Updates], Any], x: np.ndarray, bits: int, nodes: int = 2
) -> list[Any]:
    """What a program returns at every node, of x (n, d) shared at `bits` bits a coordinate."""

    def act(mesh: Cheating, ops: SharedOps, own: np.ndarray) -> Any:
        result = program(ops, wrap(own, bits))
        ops.finish()
        return result

    return _together(act, x, bits, nodes)


def _together(
    act: Callable[[Cheating, SharedOps, np.ndarray], Any],
    x: np.ndarray,
    bits: int,
    nodes: int,
    cheat: Change = lambda number, mine: mine,
    network: Network | None = None,
) -> list[Any]:
    """Run all nodes, each on its shares of x (n, d), and the dealer."""
    shares = [split(torch.as_tensor(row), bits, nodes, fresh_stream()) for row in x]
    keys = [bytes([rank] * 16) for rank in range(nodes)]

    def one_node(rank: int, channels: dict[int, Channel], dealer: Channel | None) -> Any:
        mesh = Cheating(rank, channels, cheat if rank == nodes - 1 else lambda number, mine: mine)
        source = NodeSource(Stream(keys[rank]), dealer)
        ops = SharedOps(DealerRing(mesh, source, network, Nonces(keys[rank])))
        own = np.stack([parts[rank] for parts in shares]).astype(np.uint64).view(np.int64)
        try:
            return act(mesh, ops, own)
        finally:
            for channel in channels.values():  # whoever waits for this node hears that it is gone
                channel.socket.shutdown(socket.SHUT_WR)
            if dealer is not None:
                dealer.send({"kind": "stop"})

    with (
        _wires(nodes) as (between, dealer),
        crypten_over(Mesh(0, between[0])),
        ThreadPoolExecutor(nodes + 1) as pool,
    ):
        streams = [Stream(key) for key in keys]
        dealing = pool.submit(serve, Dealer(streams, dealer[1].send_array), dealer[1])
        work = [
            pool.submit(one_node, rank, between[rank], None if rank else dealer[0])
            for rank in range(nodes)
        ]
        outcomes = [one.result() for one in work]
        dealing.result()
    return outcomes
