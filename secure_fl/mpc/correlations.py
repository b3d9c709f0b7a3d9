"""Correlated randomness: what it is, how the dealer makes it, how a node takes it.

The dealer shares an AES key with every node, and so a stream for every request (`RequestChain`). A
node's share of a correlation is read off its own stream; only what cannot be random, the product,
is corrected: node 0 receives from the dealer the one share that makes the sum right. Dealer and
nodes ask for the same sizes in the same order, so that nothing but node 0's requests and the
corrections travels (the "PRG trick"; Mohassel and Zhang, SecureML, 2017, section IV; CrypTen's
trusted third party works the same way).

Every kind of correlation is one method here, written once for both sides: `Dealer` draws all
shares, `NodeSource` only its own. What later requests refer to, the dealer keeps under a number.

    kind            shared values                                       correction, bytes
    input           r (...) words, each known to one node               0
    circuit         g of every AND (`secure_fl.mpc.wires`)              8 a word
    rows            some rows of masks kept before                      0
    bits            masks of wires as ring elements                     8 a bit
    products        a, b, c = a*b, ring elements                        8 an element
    mask            A (n, d), ring                                      0
    norms           sum_d A^2, (n,)                                     8 n
    gram            A A^T, (n, n)                                       8 n^2
    row_dot         b (d,), A b (n,)                                    8 n
    row_scale       b (n,), b_i A_i (n, d)                              8 n d
    combine         b (k, n), b A (k, d)                                8 k d
    mux             masks r of wires and r A, as ring elements          16 n d

`step` asks for no correlation but how many requests were answered, at the end of every rule.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from secure_fl.errors import InputError, NodeFailure, require
from secure_fl.mpc.bit_slicing import WORD_BITS, unpack_bits, word_count
from secure_fl.mpc.prg import Stream
from secure_fl.mpc.requests import check_request
from secure_fl.mpc.transport import Channel
from secure_fl.mpc.wires import DealerGates, deal

STEP = "step"  # asked by node 0 alone

# What is raised where the sizes of a request do not fit those of the masks that it names: by numpy,
# unless it would go on with other sizes.
_MISFIT = (ArithmeticError, LookupError, MemoryError, TypeError, ValueError)

# Columns that bits are turned to ring elements for at a time, so that memory stays small.
_COLUMNS = 1 << 16


def column_blocks(columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut columns into blocks; yield the columns and the words that hold their bits."""
    for start in range(0, columns, _COLUMNS):
        stop = min(start + _COLUMNS, columns)
        yield slice(start, stop), slice(start // WORD_BITS, word_count(stop))


class RequestChain:
    """Which streams a request is answered from: a function of it and of all requests before it.

    Node 0 alone asks the dealer, and what it asks for decides what it is sent. Answered from one
    stream, a request that the other nodes did not make would give away words that they use for
    something else: the norms of a mask without columns are their next words. So every request has
    streams of its own. After one that the others did not make, the dealer's streams and theirs
    have nothing in common any more, and whatever it corrects says nothing about their words.
    """

    def __init__(self) -> None:
        self._label = bytes(hashlib.sha256().digest_size)

    def advance(self, kind: str, sizes: Mapping[str, Any]) -> bytes:
        """Take in a request; return the label of its streams, 32 bytes."""
        text = json.dumps([kind, sizes], sort_keys=True).encode()
        self._label = hashlib.sha256(self._label + text).digest()
        return self._label


class Products(NamedTuple):
    """Additive shares of a, b and c = a*b."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


class Dealer:
    """Makes corrections for requests; holds one stream for each node.

    The dealer learns nothing about inputs: it never receives anything but sizes.

    Args:
        streams: the nodes' streams, in order of rank.
        send: takes the corrections for node 0, in order.
    """

    def __init__(self, streams: Sequence[Stream], send: Callable[[np.ndarray], None]) -> None:
        self._bases, self._chain = list(streams), RequestChain()
        self._streams = list(streams)  # of the request under way
        self._send = send
        self._gates = DealerGates(self._streams, send)
        self._kept: dict[int, np.ndarray] = {}
        self._requests = 0

    @property
    def kept(self) -> KeysView[int]:
        """Numbers of the masks that later requests may name."""
        return self._kept.keys()

    def _sum(self, shape: int | tuple[int, ...], skip_first: bool = False) -> np.ndarray:
        total = np.zeros(shape, np.int64)
        for stream in self._streams[skip_first:]:
            total += stream.ring(shape)
        return total

    def _correct(self, value: np.ndarray) -> None:
        self._send(value - self._sum(value.shape, skip_first=True))

    def answer(self, request: dict[str, Any]) -> None:
        """Send node 0's corrections for a request.

        Raises:
            ValueError: the request names no kind of correlation.
        """
        kind = request["kind"]
        makers: dict[str, Callable[..., None]] = {
            "input": self._input,
            "circuit": self._circuit,
            "rows": self._rows,
            "bits": self._bits,
            "products": self._products,
            "mask": self._mask,
            "release": self._release,
            "norms": self._norms,
            "gram": self._gram,
            "row_dot": self._row_dot,
            "row_scale": self._row_scale,
            "combine": self._combine,
            "mux": self._mux,
            STEP: self._step,
        }
        self._requests += 1
        if kind not in makers:
            raise ValueError(f"kind must be one of {sorted(makers)}; got {kind!r}")
        sizes = {k: v for k, v in request.items() if k != "kind"}
        if kind != STEP:
            label = self._chain.advance(kind, sizes)
            self._streams[:] = [base.under(label) for base in self._bases]
        makers[kind](**sizes)

    def _step(self) -> None:
        self._send(np.array([self._requests]))

    def _input(self, first: int, shape: Sequence[int]) -> None:
        for rank, stream in enumerate(self._streams):
            self._kept[first + rank] = stream.words(tuple(shape))

    def _circuit(
        self, first: int, name: str, inputs: Sequence[int], width: int, params: dict[str, Any]
    ) -> None:
        masks = [self._kept[number] for number in inputs]
        for i, mask in enumerate(deal(self._gates, name, masks, width, params)):
            self._kept[first + i] = mask

    def _rows(self, first: int, number: int, rows: Sequence[int]) -> None:
        self._kept[first] = self._kept[number][..., list(rows), :]

    def _bits(self, number: int, columns: int, index: Sequence[int]) -> None:
        words = self._kept[number][tuple(index)]
        most = words.shape[-1] * WORD_BITS if words.ndim == 2 else 0
        require(columns <= most, "columns", f"at most the {most} of the mask's rows", columns)
        for block, part in column_blocks(columns):
            self._correct(unpack_bits(words[:, part], block.stop - block.start))

    def _products(self, count: int) -> None:
        self._correct(self._sum(count) * self._sum(count))

    def _mask(self, number: int, shape: Sequence[int]) -> None:
        self._kept[number] = self._sum(tuple(shape))

    def _release(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            del self._kept[number]

    def _norms(self, number: int) -> None:
        mask = self._kept[number]
        self._correct(np.einsum("nd,nd->n", mask, mask))

    def _gram(self, number: int) -> None:
        mask = self._kept[number]
        self._correct(mask @ mask.T)

    def _row_dot(self, number: int) -> None:
        mask = self._kept[number]
        self._correct(mask @ self._sum(mask.shape[1]))

    def _row_scale(self, number: int) -> None:
        mask = self._kept[number]
        self._correct(mask * self._sum(mask.shape[0])[:, None])

    def _combine(self, number: int, count: int) -> None:
        mask = self._kept[number]
        self._correct(np.einsum("kn,nd->kd", self._sum((count, len(mask))), mask))

    def _mux(self, number: int, mask: int) -> None:
        words, values = self._kept[number], self._kept[mask]
        # Of one row of values each row of bits chooses, as of `mix` with another vector.
        fits = values.ndim == words.ndim == 2 and len(values) in (1, len(words))
        fits = fits and words.shape[1] == word_count(values.shape[1])
        require(fits, "number", f"bits of a mask {values.shape}", words.shape)
        for block, part in column_blocks(values.shape[1]):
            bits = unpack_bits(words[:, part], block.stop - block.start)
            self._correct(bits)
            self._correct(bits * values[:, block])


class NodeSource:
    """One node's end: its own stream, and at node 0 the channel to the dealer.

    Attributes:
        stream: shared with the dealer, for the request made last.
        seconds: time spent here, the offline phase.  bytes_received: corrections so far.
    """

    def __init__(self, stream: Stream, dealer: Channel | None) -> None:
        self._base, self._chain = stream, RequestChain()
        self.stream = stream
        self._dealer = dealer
        self._next = 0
        self._kept: list[int] = []
        self._requests = 0
        self.seconds = 0.0
        self.bytes_received = 0

    @contextmanager
    def offline(self) -> Iterator[None]:
        """Count the time inside as offline."""
        start = perf_counter()
        yield
        self.seconds += perf_counter() - start

    def request(self, kind: str, **sizes: Any) -> None:
        """Ask the dealer for a correlation; node 0 speaks for all."""
        if kind != STEP:
            self.stream = self._base.under(self._chain.advance(kind, sizes))
        if self._dealer is not None:
            self._requests += 1
            self._dealer.send({"kind": kind, **sizes})

    def require_step(self) -> None:
        """Refuse to go on unless every correction has been read and none too many.

        Corrections carry no numbers of their own. Behind the last one the dealer says how many
        requests it has answered, eight bytes that are not counted as offline traffic.

        Raises:
            NodeFailure: what was read last is another number.
        """
        if self._dealer is None:
            return
        self.request(STEP)
        answered = np.empty(1, np.int64)
        self._dealer.receive_into(answered.data.cast("B"))
        if answered[0] != self._requests:
            raise NodeFailure("the dealer's corrections are out of step with the requests")

    def keep(self, count: int) -> int:
        """Return the first of `count` new numbers under which the dealer keeps masks."""
        first = self._next
        self._next += count
        self._kept.extend(range(first, first + count))
        return first

    @property
    def next_number(self) -> int:
        """The number that `keep` returns next."""
        return self._next

    def release(self, numbers: Sequence[int]) -> None:
        """Let the dealer forget masks; what was opened under them must not be used again."""
        gone = set(numbers)
        self._kept = [number for number in self._kept if number not in gone]
        if gone:
            self.request("release", numbers=sorted(gone))

    def release_all(self) -> None:
        """Let the dealer forget all masks."""
        self.release(self._kept)

    @property
    def correction(self) -> Callable[[tuple[int, ...]], np.ndarray] | None:
        """Read the dealer's next correction, as words; None but at node 0."""
        return None if self._dealer is None else self._words

    def _words(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._corrected(shape).view(np.uint64)

    def _corrected(self, shape: int | tuple[int, ...]) -> np.ndarray:
        if self._dealer is None:
            return self.stream.ring(shape)
        out = np.empty(shape, np.int64)
        self._dealer.receive_into(out.data.cast("B"))
        self.bytes_received += out.nbytes
        return out

    def input(self, shape: tuple[int, ...], nodes: int) -> tuple[int, np.ndarray]:
        """Return this node's own mask for words of its own, and node 0's number; others follow."""
        with self.offline():
            first = self.keep(nodes)
            self.request("input", first=first, shape=list(shape))
            return first, self.stream.words(shape)

    def bits(
        self, number: int, index: tuple[int, ...], shape: tuple[int, int]
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield ring shares of the masks of wires [index], (rows, columns), block by block.

        With each block come its columns and its words.
        """
        rows, columns = shape
        self.request("bits", number=number, columns=columns, index=list(index))
        for block, part in column_blocks(columns):
            with self.offline():
                share = self._corrected((rows, block.stop - block.start))
            yield block, part, share

    def products(self, count: int) -> Products:
        """Return `count` multiplication triples."""
        with self.offline():
            self.request("products", count=count)
            a, b = self.stream.ring(count), self.stream.ring(count)
            return Products(a, b, self._corrected(count))

    def mask(self, shape: tuple[int, int]) -> tuple[int, np.ndarray]:
        """Return a number and a share of a random matrix that later requests can refer to."""
        with self.offline():
            number = self.keep(1)
            self.request("mask", number=number, shape=list(shape))
            return number, self.stream.ring(shape)

    def of_mask(self, kind: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return a share of the mask's `norms` or `gram`, of the given shape."""
        with self.offline():
            self.request(kind, number=number)
            return self._corrected(shape)

    def with_mask(
        self, kind: str, number: int, other: int, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return shares of a fresh mask of `other` elements and of its `row_dot` or `row_scale`."""
        with self.offline():
            self.request(kind, number=number)
            mask = self.stream.ring(other)
            return mask, self._corrected(shape)

    def combination(
        self, number: int, weights: tuple[int, int], columns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return shares of a fresh mask (k, n) of weights and of that times the mask, (k, d)."""
        with self.offline():
            self.request("combine", number=number, count=weights[0])
            mask = self.stream.ring(weights)
            return mask, self._corrected((weights[0], columns))

    def mux(
        self, number: int, mask: int, shape: tuple[int, int]
    ) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
        """Yield ring shares of the wires' masks r and of r times a ring mask, block by block.

        With each block come its columns and its words.
        """
        rows, columns = shape
        self.request("mux", number=number, mask=mask)
        for block, part in column_blocks(columns):
            size = rows, block.stop - block.start
            with self.offline():
                r, product = self._corrected(size), self._corrected(size)
            yield block, part, r, product


def serve(dealer: Dealer, channel: Channel) -> None:
    """Answer node 0's requests until it says stop.

    Raises:
        NodeFailure: node 0 went away without saying so, or asked for what is no correlation, or
            for one whose sizes do not fit each other or memory.
    """
    while True:
        request, _ = channel.receive(limit=0)
        if request.get("kind") == "stop":
            return
        try:
            check_request(request, dealer.kept)
        except InputError as error:
            told = f"{channel.peer} asked for what is no correlation: {error}"
            raise NodeFailure(told) from error
        try:
            dealer.answer(request)
        except _MISFIT as error:
            told = f"{channel.peer} asked for a correlation {request['kind']} whose sizes"
            raise NodeFailure(f"{told} do not fit each other: {error}") from error
