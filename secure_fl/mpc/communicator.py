"""A CrypTen communicator over the nodes' own TCP mesh.

CrypTen's default goes through torch.distributed's gloo backend, whose collectives take
milliseconds for a few bytes. `install` puts this one in its place: CrypTen's tensors then work
in the process as after `crypten.init()`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.transport import Mesh

crypten = import_crypten()


class _Done:
    """A finished request, for CrypTen's asynchronous calls."""

    def wait(self) -> None:
        """Return at once."""


class TcpCommunicator(crypten.communicator.Communicator):  # type: ignore[name-defined]
    """CrypTen's communicator interface on a `Mesh`.

    Objects travel as JSON, never as pickles. Sends and receives block.
    """

    BYTES_PER_ELEMENT = 8
    _instance: TcpCommunicator | None = None

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._name = f"rank{mesh.rank}"
        self.reset_communication_stats()

    @classmethod
    def is_initialized(cls) -> bool:
        """Return whether `install` was called."""
        return cls._instance is not None

    @classmethod
    def get(cls) -> TcpCommunicator | None:
        """Return the installed communicator."""
        return cls._instance

    @classmethod
    def initialize(cls, rank: int, world_size: int, init_ttp: bool = False) -> None:
        """Refuse: the mesh must exist first."""
        raise RuntimeError("call secure_fl.mpc.communicator.install(mesh), not crypten.init()")

    @classmethod
    def shutdown(cls) -> None:
        """Close the mesh."""
        if cls._instance is not None:
            cls._instance.mesh.close()
            cls._instance = None

    def get_world_size(self) -> int:
        """Return the number of nodes."""
        return self.mesh.size

    def get_rank(self) -> int:
        """Return this node's rank."""
        return self.mesh.rank

    def set_name(self, name: str) -> None:
        """Set this party's name."""
        self._name = name

    def get_name(self) -> str:
        """Return this party's name."""
        return self._name

    def _gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """One round in which everyone gets everyone's tensor, in order of rank."""
        mine = np.ascontiguousarray(tensor.detach().numpy())
        before = self.mesh.bytes_sent
        parts = [torch.from_numpy(part) for part in self.mesh.exchange(mine)]
        self.comm_rounds += 1
        self.comm_bytes += self.mesh.bytes_sent - before
        parts.insert(self.mesh.rank, tensor.clone())
        return parts

    def all_reduce(
        self, input: Any, op: Any = torch.distributed.ReduceOp.SUM, batched: bool = False
    ) -> Any:
        """Combine tensors over all nodes; a batch of them takes one round."""
        if not batched:
            return _combine(self._gathered(input), op)
        flat = torch.cat([part.reshape(-1) for part in input])
        total = _combine(self._gathered(flat), op)
        pieces = total.split([part.numel() for part in input])
        return [piece.reshape(part.shape) for piece, part in zip(pieces, input, strict=True)]

    def reduce(
        self,
        input: Any,
        dst: int,
        op: Any = torch.distributed.ReduceOp.SUM,
        batched: bool = False,
    ) -> Any:
        """Combine tensors over all nodes; only `dst` gets the result."""
        whole = list(input) if batched else [input]
        flat = torch.cat([part.reshape(-1) for part in whole])
        parts = self.gather(flat, dst)
        if self.mesh.rank != dst:
            return None
        pieces = _combine(parts, op).split([part.numel() for part in whole])
        shaped = [piece.reshape(part.shape) for piece, part in zip(pieces, whole, strict=True)]
        return shaped if batched else shaped[0]

    def gather(self, tensor: torch.Tensor, dst: int) -> list[Any]:
        """Collect tensors at `dst`."""
        if self.mesh.rank != dst:
            self.send(tensor, dst)
            return [None]
        parts = [self.recv(tensor, peer) for peer in self.mesh.peers]
        parts.insert(dst, tensor.clone())
        return parts

    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Collect tensors at every node."""
        return self._gathered(tensor)

    def scatter(
        self, scatter_list: Sequence[torch.Tensor], src: int, size: Any = None, device: Any = None
    ) -> torch.Tensor:
        """Give every node its element of the list at `src`."""
        if self.mesh.rank == src:
            for peer in self.mesh.peers:
                self.send(scatter_list[peer], peer)
            return scatter_list[src]
        shape = scatter_list[self.mesh.rank].shape if size is None else size
        return self.recv(torch.empty(shape, dtype=torch.long), src)

    def broadcast(self, input: Any, src: int, group: Any = None, batched: bool = False) -> Any:
        """Give every node the tensors at `src`, in place."""
        for tensor in input if batched else [input]:
            if self.mesh.rank == src:
                for peer in self.mesh.peers:
                    self.send(tensor, peer)
            else:
                tensor.copy_(self.recv(tensor, src))
        return input

    def send(self, tensor: torch.Tensor, dst: int) -> None:
        """Send a tensor whose shape the receiver knows."""
        data = np.ascontiguousarray(tensor.detach().numpy()).reshape(-1)
        self.mesh.channels[dst].send_raw(data.data.cast("B"))
        self._count(data.nbytes)

    def recv(self, tensor: torch.Tensor, src: int | None = None) -> torch.Tensor:
        """Receive a tensor shaped like the argument."""
        if src is None:
            raise ValueError("src must be a rank; got None")
        data = np.empty(tuple(tensor.shape), tensor.numpy().dtype)
        self.mesh.channels[src].receive_into(data.reshape(-1).data.cast("B"))
        return torch.from_numpy(data)

    def isend(self, tensor: torch.Tensor, dst: int) -> _Done:
        """Send now."""
        self.send(tensor, dst)
        return _Done()

    def irecv(self, tensor: torch.Tensor, src: int | None = None) -> _Done:
        """Receive now, into the tensor."""
        tensor.copy_(self.recv(tensor, src))
        return _Done()

    def barrier(self) -> None:
        """Wait until every node is here."""
        self._gathered(torch.zeros(1, dtype=torch.long))

    def send_obj(self, obj: Any, dst: int, group: Any = None) -> None:
        """Send an object that JSON can hold."""
        self.mesh.channels[dst].send({"object": obj})
        self._count(len(json.dumps(obj)))

    def recv_obj(self, src: int, group: Any = None) -> Any:
        """Receive an object."""
        header, _ = self.mesh.channels[src].receive(limit=0)
        return header["object"]

    def broadcast_obj(self, obj: Any, src: int, group: Any = None) -> Any:
        """Give every node the object at `src`; sizes come back as `torch.Size`."""
        if self.mesh.rank != src:
            received = self.recv_obj(src)
            return torch.Size(received) if isinstance(received, list) else received
        for peer in self.mesh.peers:
            self.send_obj(list(obj) if isinstance(obj, torch.Size) else obj, peer)
        return obj

    def _count(self, size: int) -> None:
        self.mesh.rounds += 1
        self.mesh.bytes_sent += size
        self.comm_rounds += 1
        self.comm_bytes += size


def _combine(parts: Sequence[torch.Tensor], op: Any) -> torch.Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        if op == torch.distributed.ReduceOp.SUM:
            total += part
        elif op == torch.distributed.ReduceOp.BXOR:
            total ^= part
        elif op == torch.distributed.ReduceOp.MAX:
            total = torch.maximum(total, part)
        else:
            raise ValueError(f"op must be SUM, BXOR or MAX; got {op}")
    return total


def install(mesh: Mesh) -> TcpCommunicator:
    """Make CrypTen in this process talk over `mesh`, and seed its generators.

    CrypTen's own generators serve only its own operators; `secure_fl.mpc` hides nothing with them.
    """
    communicator = TcpCommunicator(mesh)
    TcpCommunicator._instance = communicator
    crypten.communicator.DistributedCommunicator = TcpCommunicator
    crypten._setup_prng()
    return communicator
