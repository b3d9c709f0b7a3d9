"""Typed settings of an experiment; every class refuses bad values when it is built.

The classes hold settings alone. `secure_fl.settings.config` composes them from YAML and the
command line. A setting is named in errors by its full key, as it is written on the command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secure_fl import data, models
from secure_fl.checks import (
    check,
    check_name,
    check_plain,
    check_words,
    positive,
)
from secure_fl.counts import share_count
from secure_fl.data.schemes import SCHEMES
from secure_fl.extensions import NONE, Extensions, check_form, is_own
from secure_fl.faults import build_faults, check_places
from secure_fl.hospital.options import TrainOptions
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.settings.participation import ParticipationConfig

MAX_MALICIOUS = 0.5
# Name of data or of a model that somebody handed over in Python: no name leads back to them.
OBJECT = "object"
# Settings of the data that came after records were made without them: hashes leave them out at
# their default.
LATER_DATA = (
    *("partition", "classes_per_hospital", "site", "label", "patient", "drop", "side"),
    *("task", "split"),
)
# Most cells of a job: every defence without attack, and under every attack at every share.
MAX_CELLS = 10_000


@dataclass
class DataConfig:
    """Which data, how they are split, and how many hospitals share them.

    Attributes:
        name: data set; `secure-fl list` shows them; or `module:function`.
        path: where the user keeps the official files, for data sets that are not shipped.
        label: column of classes, of a table of one's own.
        patient: column or array that tells whose a row is; of images, what ends the patient in a
            file's name.
        drop: columns to leave out.
        side: pixels along each side that images of one's own are scaled to; null: 32.
        task: which question is asked of data that have several; null: their first.
        split: `official` takes the test rows that the data's makers set aside; null: random ones.
        hospitals: number of hospitals.
        partition: how patients are divided among hospitals (`secure_fl.data.schemes`): `dirichlet`
            by class, `quantity` by size, `classes` (so many a hospital), `column` by site, `iid`.
        alpha: concentration of the Dirichlet distribution, for the first two; small is uneven.
        classes_per_hospital: for `classes` alone.
        site: column that tells where a row comes from, for `column` alone.
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
    label: str | None = None
    patient: str | None = None
    drop: list[str] = field(default_factory=list)
    side: int | None = None
    task: str | None = None
    split: str | None = None
    hospitals: int = 20
    partition: str = "dirichlet"
    alpha: float = 0.3
    classes_per_hospital: int | None = None
    site: str | None = None
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
        check_name("data.partition", self.partition, list(SCHEMES))
        check(positive(self.alpha), "data.alpha", "> 0 and finite", self.alpha)
        for key, scheme, rule in (
            ("classes_per_hospital", "classes", "at least 1"),
            ("site", "column", "the name of a column"),
        ):
            value, needed = getattr(self, key), self.partition == scheme
            good = value is not None and value != "" and value != 0
            check(not needed or good, f"data.{key}", f"{rule} with partition {scheme}", value)
            rule = f"null unless data.partition is {scheme}"
            check(needed or value is None, f"data.{key}", rule, value)
        for key in ("test_fraction", "validation_fraction"):
            value = getattr(self, key)
            check(0 < value < 1, f"data.{key}", "between 0 and 1, both excluded", value)
        check(self.split in (None, "official"), "data.split", "null or official", self.split)
        plain = self.split is None or self.test_fraction == DataConfig.test_fraction
        check(plain, "data.test_fraction", "left out with data.split official", self.test_fraction)
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
        tensorboard: folder of event files for TensorBoard, written as a run goes on, a folder below
            it a run; null writes none. No record of a run knows of them.
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
    tensorboard: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainOptions = field(default_factory=TrainOptions)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    participation: ParticipationConfig = field(default_factory=ParticipationConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    attacks: list[Any] = field(default_factory=list)
    defences: list[Any] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        # No field, so that no file can set it: `permit` does.
        self.extensions = NONE
        check_plain("name", self.name)
        check_words("description", self.description)
        check(self.tensorboard != "", "tensorboard", "null or a folder", self.tensorboard)
        check(0 <= self.seed < 2**63, "seed", "from 0 to 2**63 - 1", self.seed)
        check(1 <= self.rounds <= 10_000, "rounds", "from 1 to 10000", self.rounds)
        check(1 <= self.threads <= 64, "threads", "from 1 to 64", self.threads)
        quorum, validators = self.ledger.quorum, self.data.validators
        check(
            quorum <= validators, "ledger.quorum", f"at most data.validators, {validators}", quorum
        )
        self.participation.check_places(self.data.hospitals)
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
