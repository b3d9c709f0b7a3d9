"""What a node holds of secret arrays: shares, and the bits of them once somebody needs those."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from secure_fl.aggregation.ops import FRACTION_BITS
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.ring import Masked, Rest, Ring
from secure_fl.mpc.wires import Wires

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402


class SharedBits(NamedTuple):
    """Bits of an array as masked wires: no XOR shares, so that no CrypTen tensor carries them.

    Attributes:
        wires: words (rows, W) under the dealer's masks: row by row, or all one after the other.
        columns: bits in a row of words.
    """

    wires: Wires
    columns: int


class SharedMatrix:
    """Updates (m, d) shared between the nodes, with their bits once somebody needs them.

    The sum of all nodes' `share`, modulo 2^(bits + drop), divided by 2^drop and rounded down, is
    the value; once lifted, drop is 0, the sum holds modulo 2^64, and a CrypTen tensor carries it.

    Attributes:
        bits: width of the values, sign included.
        drop: see above.
        tensor: an `MPCTensor` at 16 fractional bits, None until lifted.
        planes: the values' bits, None until found.
        rest: what lifting still needs, None before the bits are found and after lifting.
        masked: the values under a mask of the dealer's, None until somebody multiplies them.
    """

    def __init__(self, share: np.ndarray, bits: int, drop: int = 0, lifted: bool = False) -> None:
        self.bits = bits
        self.drop = drop
        self.tensor: MPCTensor | None = None
        self.planes: Wires | None = None
        self.rest: Rest | None = None
        self.masked: Masked | None = None
        self._narrow = share
        if lifted:
            self.lift(share)

    def lift(self, share: np.ndarray) -> None:
        """Take shares modulo 2^64 in the place of narrower ones, which are let go."""
        self.tensor = MPCTensor.from_shares(torch.from_numpy(share), precision=FRACTION_BITS)
        self._narrow = share[:0]
        self.drop = 0
        self.rest = None

    @property
    def share(self) -> np.ndarray:
        """This node's share, int64 (m, d)."""
        return self._narrow if self.tensor is None else self.tensor.share.numpy()

    def forget(self) -> None:
        """Let go of what rests on the dealer's masks."""
        self.planes = self.rest = self.masked = None

    def rows(self, indices: list[int], ring: Ring) -> SharedMatrix:
        """Return some rows, with what is known about them; a mask is not carried over."""
        share = self.share[indices]
        kept = SharedMatrix(share, self.bits, self.drop, self.tensor is not None)
        if self.planes is not None:
            kept.planes = ring.rows(self.planes, indices)
        if self.rest is not None:
            kept.rest = Rest(
                self.rest.high[indices], ring.rows(self.rest.carries, indices), self.rest.low
            )
        return kept
