"""The operations that robust rules are written in, the same for every backend.

A rule sees `Updates` (n hospitals x d parameters) and `Secret` arrays. It can compute with them
but not look at them: `Ops.open(name, secret)` is the only way out, and every opening is recorded.
Three backends implement `Ops`:

    plain   float64 tensors: fast, the numerical reference
    fixed   64-bit fixed-point integers in the clear: bit for bit what MPC computes
    mpc     the same integers, secret-shared between computing nodes

An operation stands in three places: here, by what it means, costs and reveals (`array_ops`,
`update_ops`); in `worlds/plain.py` as its textbook formula; and once for the integers, in
`worlds/numbers.py`, `worlds/matrices.py` or `worlds/cosines.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch

from secure_fl.aggregation.openings import FRACTION_BITS as FRACTION_BITS
from secure_fl.aggregation.openings import Exits, Permit
from secure_fl.aggregation.secret import Secret as Secret
from secure_fl.aggregation.secret import Updates as Updates
from secure_fl.aggregation.secret import clipped_norm_bound as clipped_norm_bound
from secure_fl.aggregation.secret import exact_length as exact_length
from secure_fl.aggregation.secret import largest_norm_bound as largest_norm_bound
from secure_fl.aggregation.secret import middle_ranks as middle_ranks
from secure_fl.aggregation.update_ops import UpdateOps
from secure_fl.types import Opening

SCORE_TOLERANCE = 2.0**-14
"""How far below its limit a score may lie: four steps of 2^-16, to which updates are encoded.

Cosines have 24 fractional bits, rounded down. Hospitals that sent the same, but for its length or
rounding, would otherwise fall on both sides of a limit that their exact scores meet.
"""


class Ops(UpdateOps):
    """Operations of one backend; also records what was opened."""

    hashes: ClassVar[bool] = True
    """Whether what is opened is hashed, for nodes to compare and to sign."""

    def __init__(self) -> None:
        self.exits = Exits(self.hashes)

    @property
    def opened(self) -> list[Opening]:
        """What was opened, in order."""
        return self.exits.opened

    @property
    def values(self) -> dict[str, torch.Tensor]:
        """The opened values, by name."""
        return self.exits.values

    def open(self, name: str, secret: Secret) -> torch.Tensor:
        """Reveal a secret as its stage declares it: float64, or bool for bits.

        Numbers leave in steps of the declared unit; what is finer is rounded down before.

        Range: that of the secret.
        Reveals: the secret, under this name.  Cost: 3 rounds, 8 bytes a number.

        Raises:
            InputError: this is not what is declared to be opened now.
        """
        permit = self.exits.permit(name, secret.shape, secret.is_bit)
        value = self._reveal(secret, permit)
        self.exits.record(permit, value)
        return value

    @abstractmethod
    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        """Spend the permit; return the secret in steps of the permit's unit."""
