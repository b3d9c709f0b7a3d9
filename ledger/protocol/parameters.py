"""Parameters that live on the chain, and the fixed point they are held in."""

import math
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_EVEN, Decimal

from ledger.errors import require

SCALE = 10**18
MAX_LOSS = 2**96 - 1
MAX_BLOCKS = 2**32 - 1
_BLOCKS = ("open_blocks", "dispute_blocks", "quorum_blocks")


def to_fixed(value: float) -> int:
    """A decimal number in units of 10**-18; 0.1 becomes exactly 10**17."""
    return int((Decimal(str(value)) * SCALE).to_integral_value(ROUND_HALF_EVEN))


def from_fixed(value: int) -> float:
    """Inverse of `to_fixed` up to the precision of a float."""
    return value / SCALE


def loss_to_fixed(loss: float) -> int:
    """A loss in units of 10**-18. NaN, infinity and anything past the contract's range become its
    largest value: a validator must be able to attest that a model is worthless."""
    require(not loss < 0, "loss", ">= 0", loss)
    if not math.isfinite(loss):
        return MAX_LOSS
    return min(to_fixed(loss), MAX_LOSS)


@dataclass(frozen=True)
class Parameters:
    """Rule of reputation and limits of degradation, as the contract is given them.

    Attributes:
        initial: reputation of a newly registered hospital.
        growth: share of the gap to 1 gained when accepted, R += growth (1 - R).
        rejection_keep: factor on R at the first rejection.
        repetition_step: subtracted from that factor for each rejection directly before.
        abnormal_keep: factor on R for those accepted into an abnormal round.
        floor: suspension below it.
        reinstated: reputation after a reinstatement.
        probation_rounds: accepted rounds until a reinstated hospital is in full standing again;
            a rejection before suspends at once.
        accuracy_drop, f1_drop: largest loss of median accuracy and F1 against the last good model.
        loss_rise: largest gain of the median loss.
        quorum: attestations needed to finalize.
        open_blocks: blocks between the opening of a round and the closing of its commitments, for
            hospitals to commit in by themselves; none are waited for once all have committed.
        dispute_blocks: blocks between the closing and the nodes' statements on their shares, for
            hospitals that were left out to claim; and between these and the aggregate where a node
            denied shares, for evidence against it.
        quorum_blocks: blocks between the quorum and the end of a round, for the other validators
            to attest; none are waited for once all have attested.
    """

    initial: float = 1.0
    growth: float = 0.1
    rejection_keep: float = 0.5
    repetition_step: float = 0.1
    abnormal_keep: float = 0.9
    floor: float = 0.2
    reinstated: float = 0.3
    probation_rounds: int = 5
    accuracy_drop: float = 0.05
    loss_rise: float = 0.25
    f1_drop: float = 0.1
    quorum: int = 4
    open_blocks: int = 1
    dispute_blocks: int = 1
    quorum_blocks: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _BLOCKS:
                require(0 <= value <= MAX_BLOCKS, field.name, f"in 0..{MAX_BLOCKS}", value)
            if field.name in ("probation_rounds", "quorum", "loss_rise", *_BLOCKS):
                continue
            require(0 <= value <= 1, field.name, "in [0, 1]", value)
        require(
            0 <= self.loss_rise <= MAX_LOSS / SCALE, "loss_rise", "in [0, 7.9e10]", self.loss_rise
        )
        require(self.floor <= self.initial, "floor", f"<= initial {self.initial}", self.floor)
        require(
            self.floor <= self.reinstated, "floor", f"<= reinstated {self.reinstated}", self.floor
        )
        require(
            0 <= self.probation_rounds < 2**16,
            "probation_rounds",
            "in 0..65535",
            self.probation_rounds,
        )
        require(1 <= self.quorum <= 32, "quorum", "in 1..32", self.quorum)

    def words(self) -> dict[str, tuple[int, ...]]:
        """All words, by name of the contract's variable."""
        return {
            "rule": self.rule_words(),
            "limits": self.limit_words(),
            "timing": self.timing_words(),
        }

    def rule_words(self) -> tuple[int, ...]:
        """The eight words of the contract's `Rule`."""
        return (
            to_fixed(self.initial),
            to_fixed(self.growth),
            to_fixed(self.rejection_keep),
            to_fixed(self.repetition_step),
            to_fixed(self.abnormal_keep),
            to_fixed(self.floor),
            to_fixed(self.reinstated),
            self.probation_rounds,
        )

    def limit_words(self) -> tuple[int, ...]:
        """The four words of the contract's `Limits`."""
        return (
            to_fixed(self.accuracy_drop),
            to_fixed(self.loss_rise),
            to_fixed(self.f1_drop),
            self.quorum,
        )

    def timing_words(self) -> tuple[int, ...]:
        """The three words of the contract's `Timing`."""
        return (self.open_blocks, self.dispute_blocks, self.quorum_blocks)
