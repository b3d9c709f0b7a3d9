"""Who attacks, how and when: members, parts of a mixture and schedules, for every attack alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from attacks import Attack
from attacks.base import knows, overrides
from attacks.schedule import ALWAYS, Schedule
from secure_fl import seeds
from secure_fl.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """One attack of a mixture, or the only one.

    Attributes:
        attack: what its members do.
        schedule: in which rounds.
        share: of all members, in (0, 1].
    """

    attack: Attack
    schedule: Schedule = ALWAYS
    share: float = 1.0


@dataclass(frozen=True)
class Attackers:
    """The malicious side of a run.

    Attributes:
        parts: attacks, the one first whose success is measured.
        order: seats in the order in which they become malicious.
        count: how many of them are.
        seed: of the run.
        rounds: that are planned.
        moving: whether other seats are drawn in each round.
        label: name of the label that they are after, where rows have several.
    """

    parts: tuple[Part, ...]
    order: tuple[int, ...]
    count: int
    seed: int
    rounds: int
    moving: bool = False
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.count:
            return
        for part, (first, last) in zip(self.parts, self._bounds(), strict=True):
            if first == last:
                raise ConfigError(
                    f"attack.mixture: the share of {part.attack} must give it at least one of the "
                    f"{self.count} malicious hospitals; got {part.share:g}"
                )

    def _bounds(self) -> Iterator[tuple[int, int]]:
        """Which of the members in order each part has; shares are summed as they are written."""
        upto = Fraction(0)
        for part in self.parts:
            first, upto = upto, upto + Fraction(str(part.share))
            yield int(first * self.count), int(upto * self.count)

    def _drawn(self, number: int) -> Sequence[int]:
        """Members in a round, in order."""
        if not self.moving:
            return self.order[: self.count]
        rng = seeds.numpy_generator(self.seed, "malicious", number)
        return [int(i) for i in rng.permutation(len(self.order))[: self.count]]

    @cached_property
    def ever(self) -> tuple[int, ...]:
        """Seats that are malicious in some planned round, ascending."""
        rounds = range(1, self.rounds + 1) if self.moving else (1,)
        return tuple(sorted({seat for number in rounds for seat in self._drawn(number)}))

    def members(self, number: int) -> list[tuple[int, ...]]:
        """Seats of each part in a round, ascending, whether or not it acts then."""
        drawn = self._drawn(number)
        return [tuple(sorted(drawn[first:last])) for first, last in self._bounds()]

    def acts(self, index: int, number: int) -> bool:
        """Whether a part attacks in a round."""
        draw = seeds.numpy_generator(self.seed, "schedule", number, index).random()
        return bool(self.count) and self.parts[index].schedule.acts(number, float(draw))

    def acting(self, number: int) -> list[int]:
        """Parts that attack in a round."""
        return [index for index in range(len(self.parts)) if self.acts(index, number)]

    def idle(self) -> list[int]:
        """Parts that attack in no planned round, though they have members."""
        rounds = range(1, self.rounds + 1)
        return [
            index
            for index in range(len(self.parts))
            if self.count and not any(self.acts(index, number) for number in rounds)
        ]

    def knows(self, fact: str) -> bool:
        """Whether any part is told a fact."""
        return any(knows(part.attack, fact) for part in self.parts)

    def cheats(self) -> bool:
        """Whether any part changes what is shared, or breaks the protocol."""
        hooks = ("encode", "misbehave")
        return any(overrides(part.attack, hook) for part in self.parts for hook in hooks)


def seat_order(
    seed: int, hospitals: int, choice: str, rows: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Seats in the order in which they become malicious, so a larger share holds the smaller one.

    Args:
        seed: of the run.
        hospitals: how many there are.
        choice: how members are chosen (`secure_fl.settings.attackers.AttackConfig.members`).
        rows: that each hospital has, for "most_data"; ties go to the random order.
    """
    drawn = seeds.numpy_generator(seed, "malicious").permutation(hospitals)
    order = [int(i) for i in drawn]
    if choice == "most_data":
        if rows is None:
            raise ConfigError("attack.members: most_data needs the hospitals' numbers of rows")
        order.sort(key=lambda seat: -rows[seat])
    return tuple(order)
