"""When an attack acts and which attacks act beside it, as settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from attacks.schedule import Schedule
from secure_fl.checks import check
from secure_fl.errors import ConfigError


@dataclass
class ScheduleConfig:
    """Rounds in which an attack acts (`attacks.schedule.Schedule`).

    Attributes:
        start: the first round.
        until: the last; null: no end.
        every: of these every so many-th.
        probability: chance in each of them.
    """

    start: int = 1
    until: int | None = None
    every: int = 1
    probability: float = 1.0

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> Schedule:
        """Build the schedule.

        Raises:
            ConfigError: a value out of range.
        """
        try:
            return Schedule(self.start, self.until, self.every, self.probability)
        except ValueError as error:
            raise ConfigError(f"attack: {error}") from error


@dataclass
class CompanionConfig:
    """An attack that has a share of the malicious hospitals, beside the one that is measured.

    Attributes:
        name, params, schedule: see `secure_fl.settings.schema.AttackConfig`.
        share: of the malicious hospitals, above 0 and below 1.
    """

    name: str
    share: float
    params: dict[str, Any] = field(default_factory=dict)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        key = f"attack.mixture, {self.name!r}: share"
        check(0 < self.share < 1, key, "above 0 and below 1", self.share)
