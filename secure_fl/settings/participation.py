"""Who takes part in a round: hospitals drawn for it, less those that are away by schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from secure_fl import seeds
from secure_fl.checks import check, check_name
from secure_fl.counts import share_count
from secure_fl.errors import ConfigError


@dataclass(frozen=True)
class Absence:
    """A hospital that drops out.

    Attributes:
        hospital: its seat.
        start: first round, from 1, in which it is away.
        until: last such round; null: it does not come back.
    """

    hospital: int
    start: int = 1
    until: int | None = None

    def __post_init__(self) -> None:
        for key, least in (("hospital", 0), ("start", 1), ("until", self.start)):
            value = getattr(self, key)
            if key == "until" and value is None:
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            rule = f"a whole number from {least}"
            check(whole and value >= least, f"participation.absences: {key}", rule, value)

    def covers(self, number: int) -> bool:
        """Whether the hospital is away in round `number`."""
        return self.start <= number and (self.until is None or number <= self.until)


@dataclass
class ParticipationConfig:
    """Which hospitals take part in which rounds.

    Attributes:
        sample: how many are drawn for each round, by the seed: a whole number, or a share of all
            (0.5; at least one); null: all. Who is drawn is public, and hides nobody's data.
        absences: hospitals that drop out, whether drawn or not, such as
            `{hospital: 3, start: 2, until: 4}`.
    """

    sample: Any = None
    absences: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.absences = [_absence(entry) for entry in self.absences]
        value = self.sample
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = number and (value >= 1 if isinstance(value, int) else 0 < value <= 1)
        rule = "null, a whole number from 1, or a share above 0, at most 1"
        check(value is None or good, "participation.sample", rule, value)

    @property
    def idle(self) -> bool:
        """Whether everybody takes part in every round."""
        return self.sample is None and not self.absences

    def drawn(self, hospitals: int) -> int:
        """How many of `hospitals` are drawn for a round."""
        if self.sample is None:
            return hospitals
        if isinstance(self.sample, int):
            return self.sample
        return max(1, share_count(self.sample, hospitals))

    def sizes(self, hospitals: int) -> list[int]:
        """Numbers of hospitals that a rule must work with: all, and those drawn for a round."""
        return sorted({hospitals, self.drawn(hospitals)}, reverse=True)

    def check_places(self, hospitals: int) -> None:
        """Refuse what no round of so many hospitals has.

        Raises:
            ConfigError: a number drawn above theirs, or a seat that does not exist.
        """
        most = self.drawn(hospitals)
        rule = f"at most data.hospitals, {hospitals}"
        check(most <= hospitals, "participation.sample", rule, self.sample)
        for absence in self.absences:
            rule = f"at most {hospitals - 1} in this run"
            seat = absence.hospital
            check(seat < hospitals, "participation.absences: hospital", rule, seat)

    def present(self, number: int, hospitals: int, seed: int) -> list[int]:
        """Seats that take part in round `number` unless the chain suspends them, ascending."""
        seats = list(range(hospitals))
        if self.sample is not None:
            rng = seeds.numpy_generator(seed, "participation", number)
            chosen = rng.choice(hospitals, self.drawn(hospitals), replace=False)
            seats = sorted(chosen.tolist())
        away = {absence.hospital for absence in self.absences if absence.covers(number)}
        return [seat for seat in seats if seat not in away]


def _absence(entry: Any) -> Absence:
    if isinstance(entry, Absence):
        return entry
    names = [each.name for each in fields(Absence)]
    if not isinstance(entry, Mapping):
        listed = ", ".join(names)
        raise ConfigError(
            f"participation.absences must be a list of mappings with {listed}; got {entry!r}"
        )
    for key in entry:
        check_name("participation.absences: key", str(key), names)
    check("hospital" in entry, "participation.absences: every entry", "one with hospital", entry)
    return Absence(**entry)
