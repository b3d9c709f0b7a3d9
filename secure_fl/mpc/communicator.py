"""A CrypTen communicator over the nodes' own TCP mesh.

CrypTen's default goes through torch.distributed's gloo backend, whose collectives take
milliseconds for a few bytes. `use_tcp` moves a CrypTen program to this one; `install` starts with
it, without gloo: CrypTen's tensors then work in the process as after `crypten.init()`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch

from secure_fl.errors import InputError, require
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.handshakes import connect_peers, listen
from secure_fl.mpc.transport import Mesh

crypten = import_crypten()

Method = TypeVar("Method", bound=Callable[..., Any])


def _counted(method: Method) -> Method:
    """Count rounds, bytes and seconds as CrypTen does: where `cfg.communicator.verbose` is set."""
    return cast(Method, crypten.communicator.communicator._logging(method))


class _Done:
    """A finished request, for CrypTen's asynchronous calls."""

    def wait(self) -> None:
        """Return at once."""


class TcpCommunicator(crypten.communicator.Communicator):  # type: ignore[name-defined]
    """CrypTen's communicator interface on a `Mesh`.

    Sends and receives block. Between nodes objects travel as JSON, never as pickles. In a program
    that `use_tcp` moved they go as before: over gloo, with CrypTen's loader of listed classes.
    """

    BYTES_PER_ELEMENT = 8
    _instance: TcpCommunicator | None = None

    def __init__(self, mesh: Mesh, previous: Any = None) -> None:
        self.mesh = mesh
        self._previous = previous
        self._name = f"rank{mesh.rank}" if previous is None else previous.get_name()
        self.reset_communication_stats()
        self._silent = False

    def silence(self) -> None:
        """Let nothing more through: where a rule runs, CrypTen's operators could open a secret."""
        self._silent = True

    def _require_voice(self) -> None:
        if self._silent:
            raise InputError("a secret is opened by name, as declared: ops.open(name, secret)")

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
        """Close the mesh, and the communicator that was there before."""
        instance, cls._instance = cls._instance, None
        if instance is None:
            return
        instance.mesh.close()
        if instance._previous is not None:
            kind = type(instance._previous)
            crypten.communicator.DistributedCommunicator = kind
            kind.shutdown()

    def __getattr__(self, name: str) -> Any:
        """Find what CrypTen keeps on its own communicator, such as its process groups."""
        if name.startswith("_") or self._previous is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        return getattr(self._previous, name)

    def get_world_size(self) -> int:
        """Return the number of nodes."""
        return self.mesh.size

    def get_rank(self) -> int:
        """Return this node's rank."""
        return self.mesh.rank

    def get_ttp_rank(self) -> int:
        """Return the trusted third party's rank: the one after the last node's."""
        return self.mesh.size

    def set_name(self, name: str) -> None:
        """Set this party's name; raises AssertionError, as CrypTen does, unless it is text."""
        if not isinstance(name, str):
            raise AssertionError(f"name must be text; got {name!r}")
        self._name = name

    def get_name(self) -> str:
        """Return this party's name."""
        return self._name

    def _gathered(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """One round in which everyone gets everyone's tensor, in order of rank."""
        self._require_voice()
        mine = np.ascontiguousarray(tensor.detach().numpy())
        # NumPy gives an array of no dimension one.
        shape = tensor.shape
        parts = [torch.from_numpy(part).reshape(shape) for part in self.mesh.exchange(mine)]
        parts.insert(self.mesh.rank, tensor.clone())
        return parts

    @_counted
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

    @_counted
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
        parts = self._collect(flat, dst)
        if self.mesh.rank != dst:
            return None
        pieces = _combine(parts, op).split([part.numel() for part in whole])
        shaped = [piece.reshape(part.shape) for piece, part in zip(pieces, whole, strict=True)]
        return shaped if batched else shaped[0]

    @_counted
    def gather(self, tensor: torch.Tensor, dst: int) -> list[Any]:
        """Collect tensors at `dst`."""
        return self._collect(tensor, dst)

    def _collect(self, tensor: torch.Tensor, dst: int) -> list[Any]:
        if self.mesh.rank != dst:
            self._put(tensor, dst)
            return [None]
        parts = [self._take(tensor, peer) for peer in self.mesh.peers]
        parts.insert(dst, tensor.clone())
        return parts

    @_counted
    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Collect tensors at every node."""
        return self._gathered(tensor)

    @_counted
    def scatter(
        self, scatter_list: Sequence[torch.Tensor], src: int, size: Any = None, device: Any = None
    ) -> torch.Tensor:
        """Give every node its element of the list at `src`."""
        if self.mesh.rank == src:
            for peer in self.mesh.peers:
                self._put(scatter_list[peer], peer)
            return scatter_list[src]
        shape = scatter_list[self.mesh.rank].shape if size is None else size
        return self._take(torch.empty(shape, dtype=torch.long), src)

    @_counted
    def broadcast(self, input: Any, src: int, group: Any = None, batched: bool = False) -> Any:
        """Give every node the tensors at `src`, in place."""
        if group is not None:
            return self._previous.broadcast(input, src, group, batched)
        for tensor in input if batched else [input]:
            if self.mesh.rank == src:
                for peer in self.mesh.peers:
                    self._put(tensor, peer)
            else:
                tensor.copy_(self._take(tensor, src))
        return input

    @_counted
    def send(self, tensor: torch.Tensor, dst: int) -> None:
        """Send a tensor whose shape the receiver knows."""
        self._put(tensor, dst)

    def _put(self, tensor: torch.Tensor, dst: int) -> None:
        self._require_voice()
        data = np.ascontiguousarray(tensor.detach().numpy()).reshape(-1)
        self.mesh.channels[dst].send_raw(data.data.cast("B"))
        self.mesh.count(data.nbytes)

    @_counted
    def recv(self, tensor: torch.Tensor, src: int | None = None) -> torch.Tensor:
        """Receive a tensor shaped like the argument."""
        return self._take(tensor, src)

    def _take(self, tensor: torch.Tensor, src: int | None = None) -> torch.Tensor:
        self._require_voice()
        if src is None:
            raise ValueError("src must be a rank; got None")
        data = np.empty(tuple(tensor.shape), tensor.numpy().dtype)
        self.mesh.channels[src].receive_into(data.reshape(-1).data.cast("B"))
        return torch.from_numpy(data)

    @_counted
    def isend(self, tensor: torch.Tensor, dst: int) -> _Done:
        """Send now."""
        self._put(tensor, dst)
        return _Done()

    @_counted
    def irecv(self, tensor: torch.Tensor, src: int | None = None) -> _Done:
        """Receive now, into the tensor."""
        tensor.copy_(self._take(tensor, src))
        return _Done()

    @_counted
    def barrier(self) -> None:
        """Wait until every node is here."""
        self._gathered(torch.zeros(1, dtype=torch.long))

    @_counted
    def send_obj(self, obj: Any, dst: int, group: Any = None) -> None:
        """Send an object: any that JSON can hold, or as before in a program that was moved."""
        if self._previous is not None:
            self._previous.send_obj(obj, dst, group)
        else:
            self._put_json(obj, dst)

    @_counted
    def recv_obj(self, src: int, group: Any = None) -> Any:
        """Receive an object; a pickle of a class that CrypTen does not list raises ValueError."""
        if self._previous is not None:
            return self._previous.recv_obj(src, group)
        return self._take_json(src)

    @_counted
    def broadcast_obj(self, obj: Any, src: int, group: Any = None) -> Any:
        """Give every node the object at `src`; sizes come back as `torch.Size`."""
        if self._previous is not None:
            return self._previous.broadcast_obj(obj, src, group)
        if self.mesh.rank != src:
            received = self._take_json(src)
            return torch.Size(received) if isinstance(received, list) else received
        for peer in self.mesh.peers:
            self._put_json(list(obj) if isinstance(obj, torch.Size) else obj, peer)
        return obj

    def _put_json(self, obj: Any, dst: int) -> None:
        self.mesh.channels[dst].send({"object": obj})
        self.mesh.count(0)

    def _take_json(self, src: int) -> Any:
        header, _ = self.mesh.channels[src].receive(limit=0)
        return header["object"]


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
    communicator = _put_in_place(mesh, None)
    crypten._setup_prng()
    return communicator


def use_tcp(timeout: float = 120.0) -> TcpCommunicator:
    """Move a CrypTen program from gloo to direct TCP connections: one line after `crypten.init()`.

    All parties of the program call it, on one machine. A random token keeps strangers out; as with
    gloo, nothing is encrypted. What the trusted third party sends, if there is one, still travels
    as before.

    Args:
        timeout: seconds that a peer may be silent.

    Raises:
        InputError: CrypTen is not initialized, or has one party only.
        NodeFailure: a party did not connect in time.
    """
    require(crypten.is_initialized(), "crypten", "initialized: call crypten.init() first", "not")
    previous = crypten.communicator.get()
    rank, size = previous.get_rank(), previous.get_world_size()
    require(size > 1, "number of parties", "at least 2", size)
    server = listen()
    words = torch.frombuffer(bytearray(secrets.token_bytes(32)), dtype=torch.long)
    hello = torch.cat([torch.tensor([server.getsockname()[1]]), words])
    parts = previous.all_gather(hello)
    token = parts[0][1:].numpy().tobytes()
    mesh = connect_peers(rank, [int(part[0]) for part in parts], server, token, timeout)
    return _put_in_place(mesh, previous)


def _put_in_place(mesh: Mesh, previous: Any) -> TcpCommunicator:
    communicator = TcpCommunicator(mesh, previous)
    TcpCommunicator._instance = communicator
    crypten.communicator.DistributedCommunicator = TcpCommunicator
    return communicator
