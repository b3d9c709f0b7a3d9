"""An attack as settings: its parameters, when it acts, who acts, and what acts beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import attacks
from attacks.schedule import Schedule
from secure_fl.checks import check, check_name
from secure_fl.errors import ConfigError, near
from secure_fl.extensions import NONE, Extensions, check_form, is_own

# How malicious hospitals are chosen.
MEMBERS = ("fixed", "each_round", "most_data")


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
        name, params, schedule: see `secure_fl.settings.attackers.AttackConfig`.
        share: of the malicious hospitals, above 0 and below 1.
    """

    name: str
    share: float
    params: dict[str, Any] = field(default_factory=dict)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        key = f"attack.mixture, {self.name!r}: share"
        check(0 < self.share < 1, key, "above 0 and below 1", self.share)


@dataclass
class AttackConfig:
    """An attack by file name, or `module:Class` for one outside the repository.

    Settings hold the name alone. One of somebody's own is looked at when it is built, with what
    the person who runs this permitted.

    Attributes:
        name: of the attack.
        params: its parameters.
        overstate: malicious hospitals also claim more rows than any bound believes, which counts
            where the rule weighs by them.
        schedule: in which rounds it acts.
        members: which hospitals are malicious: `fixed`, drawn once; `each_round`, drawn anew in
            each round; `most_data`, those with most rows.
        target_label: name of the label that it is after, of data whose rows have several: it sees
            and changes that one alone, as classes 0 and 1, and is measured on it; null: rows have
            one class, or it changes none.
        mixture: further attacks, each with its share of the malicious hospitals; this one has the
            rest, and its success is the one that is measured.
    """

    name: str = "none"
    params: dict[str, Any] = field(default_factory=dict)
    overstate: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    members: str = "fixed"
    target_label: str | None = None
    mixture: list[CompanionConfig] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_name("attack.members", self.members, MEMBERS)
        place, rule = "attack.overstate", "false with members: each_round (claims last all rounds)"
        check(not self.overstate or self.members != "each_round", place, rule, self.overstate)
        shares = sum(Fraction(str(companion.share)) for companion in self.mixture)
        rule = "below 1 in sum: the rest is for the attack itself"
        check(shares < 1, "attack.mixture: shares", rule, float(shares))
        for name in self.own_names:
            check_form(name)
        if not self.own_names:
            self.parts()

    @property
    def label(self) -> str:
        """Name fit for folders and tables: `my_module:MyAttack` becomes `MyAttack`."""
        names = [self.name, *(companion.name for companion in self.mixture)]
        return "_and_".join(name.rpartition(":")[2] for name in names)

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names that stand for code of somebody's own."""
        names = [self.name, *(companion.name for companion in self.mixture)]
        return tuple(dict.fromkeys(name for name in names if is_own(name)))

    @property
    def idle(self) -> bool:
        """Whether nobody attacks at all."""
        return self.name == "none" and not self.mixture

    @property
    def identity(self) -> dict[str, Any]:
        """The settings as a run's hash takes them: what came later counts where it is used."""
        own, plain = asdict(self), asdict(AttackConfig())
        later = ("schedule", "members", "target_label", "mixture")
        return {k: v for k, v in own.items() if k not in later or v != plain[k]}

    def parts(self, extensions: Extensions = NONE) -> list[tuple[attacks.Attack, Schedule, float]]:
        """Each attack with its schedule and its share of the malicious hospitals.

        Raises:
            ConfigError, NotPermitted: see `build`.
        """
        beside = [(each, Fraction(str(each.share))) for each in self.mixture]
        rest = 1 - sum((share for _, share in beside), Fraction(0))
        return [
            (self.build(extensions), self.schedule.build(), float(rest)),
            *(
                (AttackConfig(each.name, each.params).build(extensions), each.schedule.build(), own)
                for each, own in ((each, float(share)) for each, share in beside)
            ),
        ]

    def build(self, extensions: Extensions = NONE) -> attacks.Attack:
        """Build the attack.

        Raises:
            ConfigError: an unknown name or parameter.
            NotPermitted: code of somebody's own that is not among the extensions.
        """
        own = is_own(self.name)
        shipped = attacks.names()
        if not own and self.name not in shipped:
            known = f'{", ".join(shipped)}, or "module:Class"'
            hint = near(self.name, shipped)
            raise ConfigError(f"attack must be one of {known}; got {self.name!r}{hint}")
        cls = extensions.get("attack", self.name) if own else None
        try:
            if cls is None:
                return attacks.load(self.name, dict(self.params))
            return attacks.build(cls, self.params, self.name)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"attack {self.name!r}: {error}") from error
