"""In which rounds an attack acts."""

from __future__ import annotations

from dataclasses import dataclass

from attacks.parameters import require


@dataclass(frozen=True)
class Schedule:
    """Rounds in which malicious hospitals attack; in all others they act as honest ones do.

    Attributes:
        start: the first round, >= 1.
        until: the last round; None: no end.
        every: of the rounds from `start` on every so many-th, >= 1.
        probability: chance, in each of these rounds, that they attack, in (0, 1].
    """

    start: int = 1
    until: int | None = None
    every: int = 1
    probability: float = 1.0

    def __post_init__(self) -> None:
        require(self.start >= 1, "schedule.start", ">= 1", self.start)
        least = f">= schedule.start, {self.start}"
        require(self.until is None or self.until >= self.start, "schedule.until", least, self.until)
        require(self.every >= 1, "schedule.every", ">= 1", self.every)
        require(0 < self.probability <= 1, "schedule.probability", "in (0, 1]", self.probability)

    def acts(self, number: int, draw: float) -> bool:
        """Whether the attack acts in a round.

        Args:
            number: the round, from 1.
            draw: uniform in [0, 1), of this round alone.
        """
        inside = number >= self.start and (self.until is None or number <= self.until)
        return inside and (number - self.start) % self.every == 0 and draw < self.probability


ALWAYS = Schedule()
