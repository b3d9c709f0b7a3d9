"""CrypTen's communicator interface over TCP, each party a thread with sockets of its own.

CrypTen's own operators over it, in processes, are in `test_functions.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from secure_fl.mpc.communicator import TcpCommunicator
from secure_fl.mpc.compat import import_crypten
from tests.secure_fl.mpc.test_transport import everywhere, meshes

Op = torch.distributed.ReduceOp


@pytest.fixture
def verbose() -> Iterator[None]:
    """CrypTen counts only where its configuration says so."""
    crypten = import_crypten()
    with crypten.cfg.temp_override({"communicator.verbose": True}):
        yield


@pytest.fixture(params=[2, 3, 4])
def parties(request: pytest.FixtureRequest) -> Iterator[list[TcpCommunicator]]:
    nodes = meshes(request.param)
    yield [TcpCommunicator(mesh) for mesh in nodes]
    for mesh in nodes:
        mesh.close()


def own(rank: int) -> torch.Tensor:
    """Words that only this party has, both signs and all bits."""
    return torch.tensor([[rank + 1, -(7**rank)], [2**62 + rank, rank]])


def test_ranks_and_names(parties: list[TcpCommunicator]) -> None:
    size = len(parties)
    assert [p.get_rank() for p in parties] == list(range(size))
    assert {p.get_world_size() for p in parties} == {size}
    assert {p.get_ttp_rank() for p in parties} == {size}
    assert parties[1].get_name() == "rank1"
    parties[1].set_name("bob")
    assert parties[1].get_name() == "bob"


@pytest.mark.usefixtures("verbose")
@pytest.mark.parametrize("op", [Op.SUM, Op.BXOR, Op.MAX])
def test_all_reduce(parties: list[TcpCommunicator], op: Any) -> None:
    size = len(parties)
    expected = own(0)
    for rank in range(1, size):
        if op == Op.SUM:
            expected = expected + own(rank)  # wraps modulo 2^64
        elif op == Op.BXOR:
            expected = expected ^ own(rank)
        else:
            expected = torch.maximum(expected, own(rank))
    for got in everywhere(parties, lambda p: p.all_reduce(own(p.get_rank()), op)):
        assert torch.equal(got, expected)
    batch = everywhere(
        parties, lambda p: p.all_reduce([own(p.get_rank()), own(p.get_rank())[0]], op, batched=True)
    )
    for first, second in batch:
        assert torch.equal(first, expected)
        assert torch.equal(second, expected[0])
    assert {p.comm_rounds for p in parties} == {2}  # a batch takes one


def test_an_operation_that_does_not_exist(parties: list[TcpCommunicator]) -> None:
    for outcome in everywhere(parties, refuses_product):
        assert outcome == "op must be SUM, BXOR or MAX"


def refuses_product(party: TcpCommunicator) -> str:
    with pytest.raises(ValueError, match="op must be SUM, BXOR or MAX") as error:
        party.all_reduce(own(0), Op.PRODUCT)
    return str(error.value).split(";")[0]


@pytest.mark.parametrize("at", [0, 1])
def test_reduce_and_gather_go_to_one_party(parties: list[TcpCommunicator], at: int) -> None:
    total = sum(own(rank) for rank in range(len(parties)))
    sums = everywhere(parties, lambda p: p.reduce(own(p.get_rank()), at))
    assert torch.equal(sums[at], total)
    assert all(s is None for rank, s in enumerate(sums) if rank != at)
    batches = everywhere(parties, lambda p: p.reduce([own(p.get_rank())] * 2, at, batched=True))
    assert all(torch.equal(part, total) for part in batches[at])
    gathered = everywhere(parties, lambda p: p.gather(own(p.get_rank()), at))
    for rank, part in enumerate(gathered[at]):
        assert torch.equal(part, own(rank))


def test_all_gather_keeps_the_order_of_ranks(parties: list[TcpCommunicator]) -> None:
    for parts in everywhere(parties, lambda p: p.all_gather(own(p.get_rank()))):
        assert all(torch.equal(part, own(rank)) for rank, part in enumerate(parts))
    for parts in everywhere(parties, lambda p: p.all_gather(torch.tensor(p.get_rank()))):
        assert [part.item() for part in parts] == list(range(len(parties)))
        assert {part.shape for part in parts} == {torch.Size([])}


@pytest.mark.parametrize("at", [0, 1])
def test_scatter_and_broadcast_come_from_one_party(parties: list[TcpCommunicator], at: int) -> None:
    whole = [own(rank) for rank in range(len(parties))]

    def take(party: TcpCommunicator) -> torch.Tensor:
        mine = whole if party.get_rank() == at else [torch.zeros_like(w) for w in whole]
        return party.scatter(mine, at)

    for rank, part in enumerate(everywhere(parties, take)):
        assert torch.equal(part, whole[rank])

    def copy(party: TcpCommunicator) -> list[torch.Tensor]:
        mine = own(9) if party.get_rank() == at else torch.zeros_like(own(9))
        pair = [mine.clone(), mine[0].clone()]
        return [party.broadcast(mine, at), *party.broadcast(pair, at, batched=True)]

    for single, first, second in everywhere(parties, copy):
        assert torch.equal(single, own(9))
        assert torch.equal(first, own(9))
        assert torch.equal(second, own(9)[0])


def test_send_and_receive(parties: list[TcpCommunicator]) -> None:
    def ring(party: TcpCommunicator) -> list[torch.Tensor]:
        rank, size = party.get_rank(), party.get_world_size()
        after, before = (rank + 1) % size, (rank - 1) % size
        party.isend(own(rank), after).wait()
        first = party.recv(torch.empty(2, 2, dtype=torch.long), before)
        party.send(own(rank).double(), after)
        second = torch.empty(2, 2, dtype=torch.double)
        party.irecv(second, before).wait()
        party.barrier()
        return [first, second]

    for rank, (whole, real) in enumerate(everywhere(parties, ring)):
        before = (rank - 1) % len(parties)
        assert torch.equal(whole, own(before))
        assert torch.equal(real, own(before).double())


def test_objects_travel_as_json(parties: list[TcpCommunicator]) -> None:
    for thing in ({"a": [1, "b", None]}, 7, "text"):
        got = everywhere(
            parties, lambda p, t=thing: p.broadcast_obj(t if p.get_rank() == 0 else None, 0)
        )
        assert all(obj == thing for obj in got)
    sizes = everywhere(parties, lambda p: p.broadcast_obj(torch.Size([2, 3]), 0))
    assert all(size == torch.Size([2, 3]) for size in sizes)
    with pytest.raises(TypeError, match="not JSON serializable"):
        parties[0].send_obj({"f": print}, 1)  # a pickle would run code at the receiver


# What one call adds at the party that it names and at the others, in tensors of one size: sent and
# received together where CrypTen counts both. n is the number of parties.
TRAFFIC = {
    "all_gather": (lambda p, x: p.all_gather(x), lambda n: (2 * (n - 1), 2 * (n - 1))),
    "all_reduce": (lambda p, x: p.all_reduce(x), lambda _: (2, 2)),
    "broadcast": (lambda p, x: p.broadcast(x, 0), lambda n: (n - 1, 1)),
    "gather": (lambda p, x: p.gather(x, 0), lambda n: (n - 1, 1)),
    "reduce": (lambda p, x: p.reduce(x, 0), lambda n: (n - 1, 1)),
    "scatter": (lambda p, x: p.scatter([x] * p.get_world_size(), 0), lambda n: (n - 1, 1)),
}


@pytest.mark.usefixtures("verbose")
@pytest.mark.parametrize("name", TRAFFIC)
def test_traffic_is_counted_as_crypten_counts_it(parties: list[TcpCommunicator], name: str) -> None:
    call, expected = TRAFFIC[name]
    everywhere(parties, lambda p: call(p, own(0)))
    named, other = expected(len(parties))
    assert [p.comm_bytes for p in parties] == [32 * named] + [32 * other] * (len(parties) - 1)
    assert {p.comm_rounds for p in parties} == {1}


@pytest.mark.usefixtures("verbose")
def test_a_receipt_counts_as_a_round(parties: list[TcpCommunicator]) -> None:
    def pair(party: TcpCommunicator) -> None:
        if party.get_rank() == 0:
            party.send(own(0), 1)
        elif party.get_rank() == 1:
            party.recv(own(0), 0)

    everywhere(parties, pair)
    assert [(p.comm_rounds, p.comm_bytes) for p in parties[:2]] == [(1, 32)] * 2


def test_nothing_is_counted_unasked(parties: list[TcpCommunicator]) -> None:
    everywhere(parties, lambda p: p.all_gather(own(0)))
    assert {(p.comm_rounds, p.comm_bytes) for p in parties} == {(0, 0)}
    assert {p.mesh.bytes_sent for p in parties} == {32 * (len(parties) - 1)}


@pytest.mark.parametrize("name", [0, None, ["name"]])
def test_a_name_is_text(parties: list[TcpCommunicator], name: Any) -> None:
    with pytest.raises(AssertionError, match="name must be text"):
        parties[0].set_name(name)


def test_there_are_no_process_groups_without_gloo(parties: list[TcpCommunicator]) -> None:
    with pytest.raises(AttributeError, match="main_group"):
        _ = parties[0].main_group


def test_it_cannot_be_set_up_by_crypten() -> None:
    assert not TcpCommunicator.is_initialized()
    assert TcpCommunicator.get() is None
    with pytest.raises(RuntimeError, match=r"install\(mesh\), not crypten\.init"):
        TcpCommunicator.initialize(0, 2)
