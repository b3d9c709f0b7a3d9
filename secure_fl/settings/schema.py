"""Typed settings of an experiment; every class refuses bad values when it is built.

The classes hold settings alone. `secure_fl.settings.config` composes them from YAML and the
command line. A setting is named in errors by its full key, as it is written on the command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import Any

import attacks
from attacks.schedule import Schedule
from secure_fl import aggregation, data, models
from secure_fl.backends.session import BACKENDS, LONGEST, PREPROCESSING
from secure_fl.checks import (
    check,
    check_name,
    check_plain,
    check_types,
    check_words,
    positive,
)
from secure_fl.counts import share_count
from secure_fl.errors import ConfigError, NotPermitted, near
from secure_fl.extensions import NONE, Extensions, check_form, is_own, own_names
from secure_fl.faults import build_faults, check_places
from secure_fl.hospital.options import TrainOptions
from secure_fl.mpc.planning import Network
from secure_fl.server.guard import GuardOptions
from secure_fl.settings.attackers import CompanionConfig, ScheduleConfig
from secure_fl.settings.ledger import LedgerConfig

VALIDATIONS = ("none", "rollback", "gate")
# How malicious hospitals are chosen.
MEMBERS = ("fixed", "each_round", "most_data")
MAX_MALICIOUS = 0.5
# Name of data or of a model that somebody handed over in Python: no name leads back to them.
OBJECT = "object"
# Settings of a defence that change no result: where its keys are, how long it waits, by which of
# several equal circuits it computes, what it writes down.
NEUTRAL = ("keys", "timeout", "network", "transcript")
# Most cells of a job: every defence without attack, and under every attack at every share.
MAX_CELLS = 10_000


@dataclass
class DataConfig:
    """Which data, how they are split, and how many hospitals share them.

    Attributes:
        name: data set; `secure-fl list` shows them; or `module:function`.
        path: where the user keeps the official files, for data sets that are not shipped.
        hospitals: number of hospitals.
        alpha: concentration of the Dirichlet distribution over classes; small is uneven.
        test_fraction: share of the patients set aside for the final test.
        validation_fraction: share of the patients that the validators hold.
        validators: number of validators among whom those patients are divided.
        balance: resample each hospital's training rows to equal class counts.
        minimum_rows: rows that each hospital has at the least.
        rows: use only this many rows of the data set, drawn by the seed; null uses all.
        root_patients: patients in the validators' public half; null keeps all of it.
    """

    name: str = "support2"
    path: str | None = None
    hospitals: int = 20
    alpha: float = 0.3
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    validators: int = 5
    balance: bool = True
    minimum_rows: int = 32
    rows: int | None = None
    root_patients: int | None = None

    def __post_init__(self) -> None:
        if is_own(self.name):
            check_form(self.name)
        elif self.name != OBJECT:
            check_name("data.name", self.name, data.names())
        check(1 <= self.hospitals <= 500, "data.hospitals", "from 1 to 500", self.hospitals)
        check(positive(self.alpha), "data.alpha", "> 0 and finite", self.alpha)
        for key in ("test_fraction", "validation_fraction"):
            value = getattr(self, key)
            check(0 < value < 1, f"data.{key}", "between 0 and 1, both excluded", value)
        left = 1 - self.test_fraction - self.validation_fraction
        check(left > 0, "data.test_fraction + data.validation_fraction", "below 1", 1 - left)
        check(1 <= self.validators <= 32, "data.validators", "from 1 to 32", self.validators)
        check(self.minimum_rows >= 1, "data.minimum_rows", "at least 1", self.minimum_rows)
        for key in ("rows", "root_patients"):
            value = getattr(self, key)
            check(value is None or value >= 1, f"data.{key}", "null or at least 1", value)


@dataclass
class ModelConfig:
    """The model by name, with the parameters of its builder."""

    name: str = "mlp"
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if is_own(self.name):
            check_form(self.name)
        elif self.name != OBJECT:
            check_name("model.name", self.name, models.names())


@dataclass
class PrivacyConfig:
    """Bounds each update's Euclidean norm, then adds Gaussian noise to every coordinate.

    Attributes:
        clip_norm: largest norm; null leaves updates as they are.
        noise_sigma: standard deviation of the noise; 0 adds none.
        bind_malicious: malicious hospitals keep to the norm too. Where nobody sees an update,
            as in plain secure aggregation, only their own software can hold them to it: false
            shows what happens when it does not.
    """

    clip_norm: float | None = 1.0
    noise_sigma: float = 0.0
    bind_malicious: bool = True

    def __post_init__(self) -> None:
        norm, sigma = self.clip_norm, self.noise_sigma
        check(norm is None or positive(norm), "privacy.clip_norm", "null or > 0", norm)
        check(0 <= sigma < math.inf, "privacy.noise_sigma", ">= 0 and finite", sigma)
        check(
            norm is not None or sigma == 0,
            "privacy.noise_sigma",
            "0 without privacy.clip_norm (noise hides nothing of an unbounded update)",
            sigma,
        )


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
        mixture: further attacks, each with its share of the malicious hospitals; this one has the
            rest, and its success is the one that is measured.
    """

    name: str = "none"
    params: dict[str, Any] = field(default_factory=dict)
    overstate: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    members: str = "fixed"
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
        later = ("schedule", "members", "mixture")
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


@dataclass
class DefenceConfig:
    """What stands between the hospitals' updates and the next model.

    Attributes:
        name: name in tables and folders.
        rule: aggregation rule by name (`secure-fl list`), as `module:function`, or as a list of
            stages, `{stages: [...], max_abs: ...}`.
        params: the rule's own parameters, where it is named.
        backend: `plain` in the clear, `fixed` in the clear with MPC's arithmetic, `mpc` shared.
        nodes: computing nodes, for `mpc` alone.
        keys: folder of `secure-fl keys` for the connections between nodes; null makes fresh ones.
        preprocessing: where correlated randomness comes from: `dealer`, a process of its own, or
            `first_party`, CrypTen's TFP, whose node 0 could decrypt everything.
        insecure_preprocessing: must be true for `first_party`.
        minimum_hospitals: fewest that are combined, whoever asks, or `colluders` + 2 if that is
            more; null: 3. All, where there are fewer.
        colluders: how many of those combined may pool what they know, so that two others remain;
            public; null: as many as are malicious in the run.
        timeout: seconds after which a silent node or dealer counts as dead, for `mpc` alone. One
            that works, however long, is not silent.
        network: what joins the nodes, `latency_ms`, `mbit` and `lanes`
            (`secure_fl.mpc.planning.Network`), by which `mpc` chooses its circuits.
        transcript: folder in which the nodes record all they receive and send, for inspection:
            whoever reads it knows every update. Each start of nodes makes a folder in it.
        ledger: commit, record and validate on the chain.
        reference: train a public root direction each round and hand it to the rule.
        reputation: weight hospitals by their reputation on the chain; needs `ledger`.
        samples_cap: where the rule weighs by numbers of rows, a hospital's claim counts for at most
            so many equal shares of the weight (`secure_fl.server.samples`).
        validation: `none` takes every model; `rollback` returns to the last accepted model when
            the chain calls the round abnormal; `gate` adds the guarded server's step search,
            early stop and final tuning.
        proximal_mu: replaces `train.proximal_mu` for this defence; null keeps it.
        guard: settings of the guarded server (`secure_fl.server.guard.GuardOptions`), with
            `validation: gate` alone.
        label: name in tables and figures; empty shows `name`.
        paper_method: row of the paper's tables that this defence stands for, if any.
        description: one line for `secure-fl list`.
    """

    name: str = "fedavg"
    rule: Any = "mean"
    params: dict[str, Any] = field(default_factory=dict)
    backend: str = "plain"
    nodes: int = 2
    keys: str | None = None
    preprocessing: str = "dealer"
    insecure_preprocessing: bool = False
    minimum_hospitals: int | None = None
    colluders: int | None = None
    timeout: float = 120.0
    network: dict[str, Any] = field(default_factory=dict)
    transcript: str | None = None
    ledger: bool = False
    reference: bool = False
    reputation: bool = False
    samples_cap: float = 2.0
    validation: str = "none"
    proximal_mu: float | None = None
    guard: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    paper_method: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_plain("defence.name", self.name)
        key = f"defence {self.name!r}: "
        for words in ("label", "paper_method", "description"):
            check_words(key + words, getattr(self, words))
        check_name(key + "backend", self.backend, BACKENDS)
        check(2 <= self.nodes <= 4, key + "nodes", "from 2 to 4", self.nodes)
        check_name(key + "preprocessing", self.preprocessing, PREPROCESSING)
        check(
            self.preprocessing == "dealer" or self.insecure_preprocessing,
            key + "insecure_preprocessing",
            "true with preprocessing: first_party, where node 0 could decrypt every update",
            self.insecure_preprocessing,
        )
        least = self.minimum_hospitals
        check(least is None or least >= 1, key + "minimum_hospitals", "null or at least 1", least)
        cap = self.samples_cap
        check(1 <= cap < math.inf, key + "samples_cap", "at least 1 and finite", cap)
        good = positive(self.timeout) and self.timeout <= LONGEST
        check(good, key + "timeout", f"above 0, at most {LONGEST:,} s", self.timeout)
        check(
            self.colluders is None or self.colluders >= 0,
            key + "colluders",
            "null or at least 0",
            self.colluders,
        )
        check_name(key + "validation", self.validation, VALIDATIONS)
        check(
            self.ledger or not self.reputation,
            key + "reputation",
            "false without a ledger (the chain keeps reputations)",
            self.reputation,
        )
        check(
            self.ledger or self.validation != "rollback",
            key + "validation",
            "none or gate without a ledger (the chain decides on rollback)",
            self.validation,
        )
        check(
            self.validation == "gate" or not self.guard,
            key + "guard",
            "empty unless validation is gate",
            self.guard,
        )
        mu = self.proximal_mu
        check(mu is None or 0 <= mu < math.inf, key + "proximal_mu", "null or >= 0", mu)
        for name in self.own_names:
            check_form(name)
        if not self.own_names:
            self.build()
        self.guard_options()
        self.network_model()

    def guard_options(self) -> GuardOptions:
        """Build the guarded server's settings; a wrong one raises `ConfigError`."""
        options: GuardOptions = self._section("guard", GuardOptions)
        return options

    def network_model(self) -> Network:
        """Build what joins the nodes; a wrong value raises `ConfigError`."""
        network: Network = self._section("network", Network)
        return network

    def _section(self, name: str, made: type) -> Any:
        """An object of a class from a mapping of its fields, under the name of the mapping."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in getattr(self, name).items()
        }
        allowed = [f.name for f in fields(made)]
        for key in given:
            check_name(f"defence {self.name!r}: key of {name}", key, allowed)
        try:
            check_types(made, given)
            return made(**given)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"defence {self.name!r}, {name}: {error}") from error

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names in the rule that stand for code of somebody's own."""
        return own_names(self.rule)

    def build(self, extensions: Extensions = NONE) -> aggregation.Pipeline:
        """Build the rule.

        Raises:
            ConfigError: a misspelt or impossible parameter.
            NotPermitted: code of somebody's own that is not among the extensions.
        """
        check(
            isinstance(self.rule, str | dict),
            f"defence {self.name!r}: rule",
            "a name, module:function, or a mapping with stages",
            self.rule,
        )
        try:
            return aggregation.make_rule(self.rule, self.params, extensions)
        except NotPermitted:
            raise
        except (ValueError, TypeError) as error:
            raise ConfigError(f"defence {self.name!r}: {error}") from error


def malicious_fractions(value: Any) -> list[float]:
    """Turn `malicious=0.3` or `malicious=[0.1, 0.2]` into a list of distinct checked fractions."""
    entries = list(value) if isinstance(value, list | tuple) else [value]
    check(bool(entries), "malicious", "a fraction or a list of fractions", value)
    for entry in entries:
        number = isinstance(entry, int | float) and not isinstance(entry, bool)
        check(
            number and 0 <= float(entry) <= MAX_MALICIOUS,
            "malicious",
            "a share of the hospitals from 0 to 0.5, because a malicious majority decides every "
            "median and no rule here promises anything beyond it",
            entry,
        )
    return sorted({float(entry) for entry in entries})


def malicious_count(fraction: float, hospitals: int) -> int:
    """Whole number of malicious hospitals, rounded down: never above the stated share."""
    return share_count(fraction, hospitals)


@dataclass
class ExperimentConfig:
    """A whole job: every defence against every attack at every malicious share.

    Attributes:
        name: name of the experiment; the default run folder begins with it.
        description: one line for `secure-fl list`.
        seed: root of every random draw but the secret ones: shares, salts, keys, privacy noise.
        rounds: federated rounds of each cell.
        threads: threads of the numerical library.
        malicious: one share of malicious hospitals or a list of them.
        attacks: attacks of the job; the clean run of every defence is always added.
        defences: defences of the job.
        repeatable_secrets: take the secret draws from the public seed too, so that commitments,
            chains and noise repeat; they then protect nothing, and the report says so in red.
        faults: breaches of the protocol to carry out (`secure_fl.faults`), in every cell; all its
            defences then need nodes that sign: `ledger: true` and `backend: mpc`.
    """

    name: str = "custom"
    description: str = ""
    seed: int = 0
    rounds: int = 10
    threads: int = 1
    malicious: Any = 0.3
    repeatable_secrets: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainOptions = field(default_factory=TrainOptions)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    attacks: list[Any] = field(default_factory=list)
    defences: list[Any] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        # No field, so that no file can set it: `permit` does.
        self.extensions = NONE
        check_plain("name", self.name)
        check_words("description", self.description)
        check(0 <= self.seed < 2**63, "seed", "from 0 to 2**63 - 1", self.seed)
        check(1 <= self.rounds <= 10_000, "rounds", "from 1 to 10000", self.rounds)
        check(1 <= self.threads <= 64, "threads", "from 1 to 64", self.threads)
        quorum, validators = self.ledger.quorum, self.data.validators
        check(
            quorum <= validators, "ledger.quorum", f"at most data.validators, {validators}", quorum
        )
        for fraction in malicious_fractions(self.malicious):
            count = malicious_count(fraction, self.data.hospitals)
            check(
                fraction == 0 or count >= 1 or not self.attacks,
                "malicious",
                f"0 or at least one whole hospital of {self.data.hospitals}",
                fraction,
            )
        self._check_items("attacks", AttackConfig, lambda attack: attack.label)
        self._check_items("defences", DefenceConfig, lambda defence: defence.name)
        shares = len(malicious_fractions(self.malicious))
        cells = len(self.defences) * (1 + len(self.attacks) * shares)
        key = "defences * (1 + attacks * malicious)"
        check(cells <= MAX_CELLS, key, f"at most {MAX_CELLS} cells", cells)
        self._check_nodes()

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names in these settings that stand for code of somebody's own."""
        names = [name for attack in self.attacks for name in attack.own_names]
        names += [name for defence in self.defences for name in defence.own_names]
        names += [name for name in (self.data.name, self.model.name) if is_own(name)]
        return tuple(dict.fromkeys(names))

    def permit(self, extensions: Extensions) -> None:
        """Take what the person who runs this permitted, and build everything that needs it.

        Raises:
            ConfigError: parameters that do not fit.
            NotPermitted: a name in these settings that was not permitted.
        """
        self.extensions = extensions
        for attack in self.attacks:
            attack.parts(extensions)
        for defence in self.defences:
            defence.build(extensions)
        for kind, name in (("dataset", self.data.name), ("model", self.model.name)):
            if is_own(name):
                extensions.get(kind, name)

    def _check_nodes(self) -> None:
        """Hold what concerns the computing nodes to the hospitals, rounds and nodes there are."""
        self.faults = build_faults(self.faults)
        most = self.data.hospitals
        for defence in self.defences:
            key, least = f"defence {defence.name!r}: ", defence.minimum_hospitals or 1
            check(
                least <= most, key + "minimum_hospitals", f"at most data.hospitals, {most}", least
            )
            pool = defence.colluders or 0
            check(pool < most, key + "colluders", f"below data.hospitals, {most}", pool)
            if self.faults:
                place, rule = key + "backend and ledger", "mpc and true with faults"
                given = (defence.backend, defence.ledger)
                check(given == ("mpc", True), place, rule, given)
                check_places(self.faults, self.rounds, most, defence.nodes)

    def _check_items(self, key: str, kind: type, label: Callable[[Any], str]) -> None:
        """Hold `attacks` and `defences` to their type, and their names to one use each."""
        entries = getattr(self, key)
        for entry in entries:
            check(isinstance(entry, kind), key, f"a list of {kind.__name__}", entry)
        names = [label(entry) for entry in entries]
        check(len(set(names)) == len(names), key, "a list without repeated names", names)
        if key == "defences":
            check(bool(names), key, "a list of at least one defence", names)
