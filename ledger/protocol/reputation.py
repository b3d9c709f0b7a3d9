"""The reputation rule once more, in plain Python: the oracle that the contract is checked against.

Written from the rule's text, not from the contract's code: records instead of packed words, and
exact fractions rounded down to the contract's unit of 10**-18 at each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from statistics import median

from ledger.protocol.parameters import SCALE

MAX_STREAK = 255


@dataclass(frozen=True)
class Rule:
    """The rule's parameters in units of 10**-18 (`probation_rounds` in rounds)."""

    initial: int
    growth: int
    rejection_keep: int
    repetition_step: int
    abnormal_keep: int
    floor: int
    reinstated: int
    probation_rounds: int


@dataclass(frozen=True)
class Limits:
    """Degradation limits in units of 10**-18, and the quorum."""

    accuracy_drop: int
    loss_rise: int
    f1_drop: int
    quorum: int


@dataclass(frozen=True)
class Standing:
    """What the chain knows of one hospital's conduct.

    Attributes:
        reputation: in units of 10**-18, 0 to 10**18.
        streak: rejections in a row.
        suspended: whether its commitments are refused.
        probation: accepted rounds still to go after a reinstatement.
    """

    reputation: int
    streak: int = 0
    suspended: bool = False
    probation: int = 0


def accepted(standing: Standing, rule: Rule) -> Standing:
    """After an accepted update in a good round: R + growth (1 - R)."""
    gap = 1 - Fraction(standing.reputation, SCALE)
    gained = floor(gap * Fraction(rule.growth, SCALE) * SCALE)
    return replace(
        standing,
        reputation=standing.reputation + gained,
        streak=0,
        probation=max(standing.probation - 1, 0),
    )


def accepted_in_abnormal_round(standing: Standing, rule: Rule) -> Standing:
    """After an accepted update in a round that was rolled back: R * abnormal_keep."""
    return _lower(standing, Fraction(rule.abnormal_keep, SCALE), rule)


def rejected(standing: Standing, rule: Rule) -> Standing:
    """After a rejected update: R times a factor that shrinks with each rejection in a row."""
    factor = Fraction(rule.rejection_keep - rule.repetition_step * standing.streak, SCALE)
    lower = _lower(standing, max(factor, Fraction(0)), rule)
    return replace(
        lower,
        streak=min(standing.streak + 1, MAX_STREAK),
        suspended=lower.suspended or standing.probation > 0,
    )


def reinstated(rule: Rule) -> Standing:
    """After the administrators lifted a suspension."""
    return Standing(rule.reinstated, probation=rule.probation_rounds)


def _lower(standing: Standing, factor: Fraction, rule: Rule) -> Standing:
    reputation = floor(standing.reputation * factor)
    return replace(standing, reputation=reputation, suspended=reputation < rule.floor)


@dataclass(frozen=True)
class Timing:
    """Blocks that must lie between two steps of a round, see `ledger.Parameters`."""

    open_blocks: int
    dispute_blocks: int
    quorum_blocks: int


@dataclass(frozen=True)
class Metrics:
    """Accuracy, loss and F1 in units of 10**-18."""

    accuracy: int
    loss: int
    f1: int


def medians(attested: Sequence[Metrics]) -> Metrics:
    """Median of each metric; of an even number the mean of the two middle values, rounded down."""
    return Metrics(
        *(
            floor(median([Fraction(getattr(metrics, name)) for metrics in attested]))
            for name in ("accuracy", "loss", "f1")
        )
    )


def degraded(now: Metrics, good: Metrics | None, limits: Limits) -> bool:
    """Whether `now` falls behind the last good model by more than a limit allows."""
    return good is not None and (
        good.accuracy - now.accuracy > limits.accuracy_drop
        or now.loss - good.loss > limits.loss_rise
        or good.f1 - now.f1 > limits.f1_drop
    )
