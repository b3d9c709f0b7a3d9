"""Gates on words of 64 wires, and their interpreters.

A circuit (`secure_fl.mpc.circuits`) is written once, in terms of `^` on arrays and of the methods
of `Gates`. What an array then is depends on the interpreter:

    CountingGates    nothing; counts
    BeaverGates      this party's XOR share of the wire; an AND opens two words
    DealerGates      the wire's mask, in the clear, at the dealer
    PrepareGates     this node's XOR share of the mask
    EvaluateGates    the masked wire, public to the nodes; an AND opens one word

The last three belong together (`secure_fl.mpc.wires`): a circuit is run once in each role, and its
ANDs meet in order. Arrays given to `and_` must not be changed afterwards: preparation keeps them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from secure_fl.mpc.transport import Exchange

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


class Gates(ABC):
    """Evaluates layers of gates on uint64 arrays of any shape; XOR is the arrays' own."""

    @abstractmethod
    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return x & y; both have one shape."""

    @abstractmethod
    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return x ^ public."""

    @abstractmethod
    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return public words as wires."""

    def not_(self, x: np.ndarray) -> np.ndarray:
        """Return the complement."""
        return self.flip(x, ~np.zeros((), np.uint64))


class CountingGates(Gates):
    """Counts AND words and layers without computing.

    Attributes:
        words, layers: AND words and rounds so far.
    """

    def __init__(self) -> None:
        self.words = 0
        self.layers = 0

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Count a layer."""
        self.words += x.size
        self.layers += 1
        return np.zeros_like(x)

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return x."""
        return x

    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return zeros."""
        return np.zeros_like(public)


class BeaverGates(Gates):
    """Works on XOR shares with triples from any provider (Beaver, CRYPTO 1991).

    Args:
        mesh: exchanges words with the other parties.
        triple: returns XOR shares of random words a, b and of a & b, in the shape it is given.
    """

    def __init__(self, mesh: Exchange, triple: Callable[[tuple[int, ...]], Triple]) -> None:
        self.mesh = mesh
        self.triple = triple
        self.leader = mesh.rank == 0

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x & y in one round that opens two words.

        1. Take shares of a, b and c = a & b.
        2. Open e = x ^ a and f = y ^ b: uniform, since a and b are.
        3. Return c ^ (e & b) ^ (f & a) ^ (e & f), the last term at party 0 alone.
        """
        a, b, c = self.triple(x.shape)
        opened = np.stack([x ^ a, y ^ b])
        for theirs in self.mesh.exchange(opened.copy()):
            opened ^= theirs
        e, f = opened
        result = c ^ (e & b) ^ (f & a)
        return result ^ (e & f) if self.leader else result

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return shares of x ^ public: party 0 flips."""
        return x ^ public if self.leader else x

    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return shares of public words: party 0 holds them."""
        return public.copy() if self.leader else np.zeros_like(public)
