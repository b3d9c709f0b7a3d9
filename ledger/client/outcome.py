"""How a round ended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundOutcome:
    """What the contract decided about a round.

    Attributes:
        round: its number.
        status: "accepted", or "abnormal" when it was rolled back.
        model: hash of the model that the next round starts from.
        accuracy, loss, f1: medians of the validators' attestations.
        reputations: of every hospital after the round, in [0, 1].
        suspended: of every hospital after the round.
    """

    round: int
    status: str
    model: bytes
    accuracy: float
    loss: float
    f1: float
    reputations: list[float]
    suspended: list[bool]
