"""Lying validators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.base import Attack, Testimony, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class LyingValidator(Attack):
    """Validators sign false measurements of every model; all hospitals are honest.

    "slander": every model is worthless; "praise": every model is perfect. The contract takes the
    median of each figure: a minority of those who attest cannot move it past honest values. A
    majority blinds it: no model looks worse than the one before, and none is rolled back any more.
    Nothing on the chain shows that; who measures the models again finds other figures. The
    initial model is lied about as in round 1, the final one as in one round more; without a ledger
    lies reach the records alone.
    Own attack.

    Attributes:
        validators: how many lie, >= 1.
        kind: what they say.
    """

    validators: int = 1
    kind: Literal["slander", "praise"] = "slander"

    def __post_init__(self) -> None:
        require(self.validators >= 1, "validators", ">= 1", self.validators)

    def dishonest(self, validators: int) -> int:
        """As many as there are to be, at most all."""
        return min(self.validators, validators)

    def testify(self, measured: Testimony, seat: int) -> Testimony:
        """The same whatever was measured."""
        return Testimony(1.0, 0.0, 1.0) if self.kind == "praise" else Testimony(0.0, 100.0, 0.0)
