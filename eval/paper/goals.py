"""What is asked of a defence, task by task: federated gain kept, attacks held, attackers found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secure_fl.checks import check_name

# Least precision and recall of naming the attackers, means over the seeds, for them to be found.
FOUND_PRECISION, FOUND_RECALL = 0.9, 0.8
# Highest share of honest hospital-rounds in which the hospital is named, mean over the seeds.
MOST_HONEST = 0.02
# What attacks that know more than all others may gain beyond the others' limits.
ALLOWED: Mapping[str, float] = {
    "full_information_backdoor": 0.02,
    "tuning_aware_backdoor": 0.02,
    "answer_backdoor": 0.02,
}


@dataclass(frozen=True)
class Goal:
    """What is asked on one task; all are shares, of 1.

    Attributes:
        gain: least federated gain retained, mean over the seeds, without attack and under each.
        success: highest mean attack success over the clean model, by the malicious share.
        worst: the same in any seed, at any share.
    """

    gain: float
    success: Mapping[float, float]
    worst: float

    def limit(self, attack: str, share: float) -> float | None:
        """Highest mean success of an attack; None at a share of which nothing is asked."""
        most = self.success.get(share)
        return None if most is None else most + ALLOWED.get(attack, 0.0)

    def worst_limit(self, attack: str) -> float:
        """Highest success of an attack in any seed."""
        return self.worst + ALLOWED.get(attack, 0.0)


_TABULAR = {0.3: 0.02, 0.4: 0.04}
_IMAGES = {0.3: 0.05, 0.4: 0.1}


@dataclass(frozen=True)
class Task:
    """Data, their division, a model and a size of the public root, and what is asked there.

    Attributes:
        title: for people.
        data: data set by name.
        settings: as on the command line.
        goal: what is asked.
    """

    title: str
    data: str
    settings: tuple[str, ...]
    goal: Goal = field(repr=False)


def _support2(patients: int) -> Task:
    title = f"SUPPORT2, Dirichlet 0.3, root of {patients}"
    return Task(title, "support2", (f"data.root_patients={patients}",), Goal(0.85, _TABULAR, 0.08))


def _lidc(model: str, rows: int, settings: tuple[str, ...]) -> Task:
    title = f"LIDC nodules, {model.upper()}, root of about {rows}"
    goal = Goal(0.5, _IMAGES, 0.17)
    return Task(title, "lidc_nodules", (f"model={model}", *settings), goal)


def _digits(rows: int) -> Task:
    # Half of a tenth, the default, has 90 rows.
    settings = ("data.validation_fraction=0.12", f"data.root_patients={rows}")
    title = f"Digits, Dirichlet 0.3, root of {rows}"
    return Task(title, "digits", settings, Goal(0.8, _IMAGES, 0.17))


# Both public halves together have 114 patients, where the other tasks have 500 to 900.
_FEW = ("data.validation_fraction=0.0125",)

# A nodule's patient has some six images: eight patients have about 50, and all of the validators'
# public half about 200.
_EIGHT = ("data.root_patients=8",)

TASKS: dict[str, Task] = {
    "support2-456": _support2(456),
    "support2-200": _support2(200),
    "support2-50": _support2(50),
    "support2-group-200": Task(
        "SUPPORT2 by disease group, root of 200",
        "support2",
        ("data.partition=column", "data.site=dzgroup", "data.root_patients=200"),
        Goal(0.7, _TABULAR, 0.08),
    ),
    "support2-few": Task(
        "SUPPORT2, Dirichlet 0.3, 114 public rows in all",
        "support2",
        _FEW,
        Goal(0.85, _TABULAR, 0.08),
    ),
    "lidc-mlp-200": _lidc("mlp", 200, ()),
    "lidc-mlp-50": _lidc("mlp", 50, _EIGHT),
    "lidc-cnn-200": _lidc("cnn", 200, ()),
    "lidc-cnn-50": _lidc("cnn", 50, _EIGHT),
    "digits-100": _digits(100),
    "digits-50": _digits(50),
}


def chosen_tasks(names: Sequence[str] | None, data: Sequence[str]) -> list[str]:
    """Names of tasks in order: those given, or all that are on one of these data sets.

    Raises:
        ConfigError: a name that is none.
    """
    for name in names or ():
        check_name("--tasks", name, list(TASKS))
    if names is not None:
        return [name for name in TASKS if name in names]
    return [name for name, task in TASKS.items() if task.data in data]
