"""Correlated randomness: what it is, how the dealer makes it, how a node takes it.

The dealer shares one AES stream with every node. A node's share of a correlation is read off its
own stream; only what cannot be random, the product, is corrected: node 0 receives from the dealer
the one share that makes the sum right. Dealer and nodes ask for the same sizes in the same order,
so that nothing but node 0's requests and the corrections travels (the "PRG trick"; Mohassel and
Zhang, SecureML, 2017, section IV; CrypTen's trusted third party works the same way).

Every kind of correlation is one method here, written once for both sides: `Dealer` draws all
shares, `NodeSource` only its own.

    kind            shared values                                       correction, bytes
    and             a, b, c = a & b, words                              8 a word
    bits            r in {0,1}: XOR-shared, packed, and additive        8 a bit
    bit_products    r as above, b ring, and r*b                         16 a bit
    products        a, b, c = a*b, ring elements                        8 an element
    mask            A (n, d), kept by the dealer under a number         0
    norms           sum_d A^2, (n,)                                     8 n
    gram            A A^T, (n, n)                                       8 n^2
    row_dot         b (d,), A b (n,)                                    8 n
    row_scale       b (n,), b_i A_i (n, d)                              8 n d
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from secure_fl.mpc.prg import Stream
from secure_fl.mpc.transport import Channel

WORD_BITS = 64


def word_count(bits: int) -> int:
    """Return the number of 64-bit words that hold `bits` bits."""
    return -(-bits // WORD_BITS)


def unpack_bits(words: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` bits of packed words (..., W) as int64 (..., count)."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(np.int64)


class AndTriple(NamedTuple):
    """XOR shares of words a, b and c = a & b."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


class SharedBits(NamedTuple):
    """Random bits r: XOR shares packed in words (W,), additive shares (count,)."""

    words: np.ndarray
    ring: np.ndarray


class BitProducts(NamedTuple):
    """Random bits r with ring masks b and additive shares of r*b, each (count,)."""

    words: np.ndarray
    ring: np.ndarray
    mask: np.ndarray
    product: np.ndarray


class Products(NamedTuple):
    """Additive shares of a, b and c = a*b."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


class Dealer:
    """Makes corrections for requests; holds one stream for each node.

    The dealer learns nothing about inputs: it never receives anything but sizes.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = list(streams)
        self._masks: dict[int, np.ndarray] = {}

    def _sum(self, shape: int | tuple[int, ...], skip_first: bool = False) -> np.ndarray:
        total = np.zeros(shape, np.int64)
        for stream in self._streams[skip_first:]:
            total += stream.ring(shape)
        return total

    def _xor(self, shape: int | tuple[int, ...], skip_first: bool = False) -> np.ndarray:
        total = np.zeros(shape, np.uint64)
        for stream in self._streams[skip_first:]:
            total ^= stream.words(shape)
        return total

    def _correct(self, value: np.ndarray) -> np.ndarray:
        return value - self._sum(value.shape, skip_first=True)

    def answer(self, request: dict[str, Any]) -> np.ndarray | None:
        """Return node 0's correction for a request, or None where there is none.

        Raises:
            ValueError: the request names no kind of correlation.
        """
        kind = request["kind"]
        makers: dict[str, Callable[..., np.ndarray | None]] = {
            "and": self._and,
            "bits": self._bits,
            "bit_products": self._bit_products,
            "products": self._products,
            "mask": self._mask,
            "release": self._release,
            "norms": self._norms,
            "gram": self._gram,
            "row_dot": self._row_dot,
            "row_scale": self._row_scale,
        }
        if kind not in makers:
            raise ValueError(f"kind must be one of {sorted(makers)}; got {kind!r}")
        return makers[kind](**{k: v for k, v in request.items() if k != "kind"})

    def _and(self, words: int) -> np.ndarray:
        product = self._xor(words)
        product &= self._xor(words)
        return product ^ self._xor(words, skip_first=True)

    def _bits(self, count: int) -> np.ndarray:
        return self._correct(unpack_bits(self._xor(word_count(count)), count))

    def _bit_products(self, count: int) -> np.ndarray:
        bits = unpack_bits(self._xor(word_count(count)), count)
        first = self._correct(bits)
        return np.stack([first, self._correct(bits * self._sum(count))])

    def _products(self, count: int) -> np.ndarray:
        return self._correct(self._sum(count) * self._sum(count))

    def _mask(self, number: int, shape: Sequence[int]) -> None:
        self._masks[number] = self._sum(tuple(shape))

    def _release(self, number: int) -> None:
        del self._masks[number]

    def _norms(self, number: int) -> np.ndarray:
        mask = self._masks[number]
        return self._correct(np.einsum("nd,nd->n", mask, mask))

    def _gram(self, number: int) -> np.ndarray:
        mask = self._masks[number]
        return self._correct(mask @ mask.T)

    def _row_dot(self, number: int) -> np.ndarray:
        mask = self._masks[number]
        return self._correct(mask @ self._sum(mask.shape[1]))

    def _row_scale(self, number: int) -> np.ndarray:
        mask = self._masks[number]
        return self._correct(mask * self._sum(mask.shape[0])[:, None])


class NodeSource:
    """One node's end: its own stream, and at node 0 the channel to the dealer.

    Attributes:
        seconds: time spent here, the offline phase.  bytes_received: corrections so far.
    """

    def __init__(self, stream: Stream, dealer: Channel | None) -> None:
        self._stream = stream
        self._dealer = dealer
        self._next_mask = 0
        self._triples: list[AndTriple] = []
        self.seconds = 0.0
        self.bytes_received = 0

    def _request(self, kind: str, **sizes: Any) -> None:
        if self._dealer is not None:
            self._dealer.send({"kind": kind, **sizes})

    def _corrected(self, shape: int | tuple[int, ...]) -> np.ndarray:
        if self._dealer is None:
            return self._stream.ring(shape)
        out = np.empty(shape, np.int64)
        self._dealer.receive_into(out.data.cast("B"))
        self.bytes_received += out.nbytes
        return out

    def reserve_ands(self, words: int) -> None:
        """Fetch AND triples for `words` words in one request, for `and_triple` to hand out."""
        start = perf_counter()
        if words:
            self._request("and", words=words)
            a, b = self._stream.words(words), self._stream.words(words)
            self._triples.append(AndTriple(a, b, self._corrected(words).view(np.uint64)))
        self.seconds += perf_counter() - start

    def and_triple(self, shape: tuple[int, ...]) -> AndTriple:
        """Return a triple of the given shape, from what was reserved or else fetched now."""
        need = int(np.prod(shape, dtype=np.int64))
        while self._triples and self._triples[0].a.size == 0:
            self._triples.pop(0)
        if not self._triples or self._triples[0].a.size < need:
            self.reserve_ands(need)
            triple = self._triples.pop()
            return AndTriple(*(part.reshape(shape) for part in triple))
        head = self._triples[0]
        self._triples[0] = AndTriple(*(part[need:] for part in head))
        return AndTriple(*(part[:need].reshape(shape) for part in head))

    @property
    def reserved(self) -> int:
        """AND words fetched and not yet used."""
        return sum(triple.a.size for triple in self._triples)

    def discard(self) -> None:
        """Forget reserved triples, after a rule stopped half way."""
        self._triples.clear()

    def bits(self, count: int) -> SharedBits:
        """Return random bits in both kinds of sharing."""
        start = perf_counter()
        self._request("bits", count=count)
        result = SharedBits(self._stream.words(word_count(count)), self._corrected(count))
        self.seconds += perf_counter() - start
        return result

    def bit_products(self, count: int) -> BitProducts:
        """Return random bits with ring masks and their products."""
        start = perf_counter()
        self._request("bit_products", count=count)
        words = self._stream.words(word_count(count))
        if self._dealer is None:
            ring, mask, product = (self._stream.ring(count) for _ in range(3))
        else:
            mask = self._stream.ring(count)
            ring, product = self._corrected((2, count))
        self.seconds += perf_counter() - start
        return BitProducts(words, ring, mask, product)

    def products(self, count: int) -> Products:
        """Return `count` multiplication triples."""
        start = perf_counter()
        self._request("products", count=count)
        a, b = self._stream.ring(count), self._stream.ring(count)
        result = Products(a, b, self._corrected(count))
        self.seconds += perf_counter() - start
        return result

    def mask(self, shape: tuple[int, int]) -> tuple[int, np.ndarray]:
        """Return a number and a share of a random matrix that later requests can refer to."""
        start = perf_counter()
        self._next_mask += 1
        self._request("mask", number=self._next_mask, shape=list(shape))
        share = self._stream.ring(shape)
        self.seconds += perf_counter() - start
        return self._next_mask, share

    def release(self, number: int) -> None:
        """Let the dealer forget a mask."""
        self._request("release", number=number)

    def of_mask(self, kind: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return a share of the mask's `norms` or `gram`, of the given shape."""
        start = perf_counter()
        self._request(kind, number=number)
        result = self._corrected(shape)
        self.seconds += perf_counter() - start
        return result

    def with_mask(
        self, kind: str, number: int, other: int, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return shares of a fresh mask of `other` elements and of its `row_dot` or `row_scale`."""
        start = perf_counter()
        self._request(kind, number=number)
        mask = self._stream.ring(other)
        result = mask, self._corrected(shape)
        self.seconds += perf_counter() - start
        return result


def serve(dealer: Dealer, channel: Channel) -> None:
    """Answer node 0's requests until it says stop.

    Raises:
        NodeFailure: node 0 went away without saying so.
    """
    while True:
        request, _ = channel.receive(limit=0)
        if request.get("kind") == "stop":
            return
        correction = dealer.answer(request)
        if correction is not None:
            channel.send_raw(np.ascontiguousarray(correction).data.cast("B"))


def describe_request(request: dict[str, Any]) -> str:
    """Return a request as one line of text, for logs."""
    return json.dumps(request, sort_keys=True)
