"""What is public about a round beside its members: the same at every node, and in the clear."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from secure_fl.errors import require

_LABEL = b"secure_fl public randomness"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A round as a rule's stages see it.

    Attributes:
        round: number of the round in its session, from 1.
        drawn_from: 32 public bytes that follow from the commitments of all in play (`public_seed`),
            or what computes them.
        last: the update opened last in this session, float64 (d,); None in the first round.
        model: the global model that this round's updates start from, float64 (d,), where the rule
            uses it and the caller gave it.
    """

    round: int = 1
    drawn_from: bytes | Callable[[], bytes] = bytes(32)
    last: torch.Tensor | None = None
    model: torch.Tensor | None = None

    @functools.cached_property
    def seed(self) -> bytes:
        """32 public bytes, computed once something is drawn."""
        return self.drawn_from() if callable(self.drawn_from) else self.drawn_from

    @property
    def used_seed(self) -> bytes:
        """The seed, if it was known or something was drawn; else 32 zeros."""
        known = isinstance(self.drawn_from, bytes) or "seed" in vars(self)
        return self.seed if known else bytes(32)

    def drawn(self, count: int, among: int) -> list[int]:
        """Draw `count` of the numbers 0 .. among-1 at random, ascending: public, as the seed is."""
        require(1 <= count <= among, "count", f"from 1 to {among}", count)
        stream = hashlib.shake_256(_LABEL + b" of places" + self.seed).digest(8 * among)
        order = np.argsort(np.frombuffer(stream, "<u8"), kind="stable")
        return sorted(order[:count].tolist())

    def noise(self, count: int) -> torch.Tensor:
        """Draw numbers of mean 0 and standard deviation 1, float64 (count,): public.

        Each is the number of ones among 256 fair bits, less 128, by 8: normal but for its steps of
        1/8 and its end at 16, and the same on every machine.
        """
        stream = hashlib.shake_256(_LABEL + b" of noise" + self.seed).digest(32 * count)
        bits = np.unpackbits(np.frombuffer(stream, np.uint8).reshape(count, 32), axis=1)
        return torch.from_numpy((bits.sum(axis=1, dtype=np.int64) - 128) / 8.0)


def public_seed(number: int, commitments: Mapping[int, bytes]) -> bytes:
    """Derive a round's public randomness from its commitments, 32 bytes.

    No hospital knows it when it chooses its update, since every root holds a salt of 32 bytes. But
    whoever commits last and knows all other roots can try salts until the seed suits it: what
    depends on the seed must hold against the best of some 2^30 seeds.

    Args:
        number: of the round.
        commitments: roots of the hospitals in play.
    """
    digest = hashlib.sha256(_LABEL + number.to_bytes(8, "big"))
    for hospital, root in sorted(commitments.items()):
        digest.update(hospital.to_bytes(4, "big") + root)
    return digest.digest()


def columns_of(seed: bytes, dim: int, count: int) -> list[int]:
    """Choose `count` of 0 .. dim-1 at random, ascending; all of them where there are no more.

    Args:
        seed: 32 public bytes; the same seed gives the same choice.
        dim, count: at least 1.

    Example:
        >>> columns_of(bytes(32), 4, 9)
        [0, 1, 2, 3]
    """
    require(dim >= 1 and count >= 1, "dim and count of columns", "at least 1", (dim, count))
    if count >= dim:
        return list(range(dim))
    drawn = min(count, dim - count)  # those that are chosen, or those that are not
    chosen: set[int] = set()
    for block in itertools.count():
        stream = hashlib.shake_256(seed + b"columns" + block.to_bytes(8, "big")).digest(8 * 1024)
        for start in range(0, len(stream), 8):
            if len(chosen) == drawn:
                return sorted(chosen if drawn == count else set(range(dim)) - chosen)
            # 64 bits: no column is likelier than another by more than 2^-40 of its chance.
            chosen.add(int.from_bytes(stream[start : start + 8], "big") % dim)
    raise AssertionError  # the stream does not end


def groups_of(seed: bytes, count: int, size: int) -> list[list[int]]:
    """Divide 0 .. count-1 at random into groups of at least `size`, as equal as can be.

    Args:
        seed: 32 public bytes; the same seed gives the same groups.
        count: at least 1.
        size: at least 1; above `count`, all are one group.

    Example:
        >>> [len(group) for group in groups_of(bytes(32), 8, 3)]
        [4, 4]
    """
    require(count >= 1 and size >= 1, "count and size of groups", "at least 1", (count, size))
    # Sorted by a hash each: a uniform order, for 2^256 makes ties impossible.
    order = sorted(range(count), key=lambda i: hashlib.sha256(seed + i.to_bytes(4, "big")).digest())
    groups = max(1, count // size)
    return [sorted(order[start::groups]) for start in range(groups)]
