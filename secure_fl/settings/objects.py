"""Settings from objects: what a person holds in Python, as the typed settings of an experiment.

An attack, a rule or a stage that a person hands over as an object is thereby permitted; in records
it stands as its name, `module:Class`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import attacks
from secure_fl.aggregation import Pipeline, Stage
from secure_fl.aggregation.rules import build_rule
from secure_fl.checks import check_name, check_types
from secure_fl.errors import ConfigError, InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import named_attack, named_defence
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.settings.participation import ParticipationConfig
from secure_fl.settings.permitted import permit
from secure_fl.settings.schema import (
    OBJECT,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    PrivacyConfig,
)

# Sections that can be given as mappings, by the keyword.
_SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "train": TrainOptions,
        "privacy": PrivacyConfig,
        "participation": ParticipationConfig,
        "ledger": LedgerConfig,
    }
)


def experiment(
    hospitals: int,
    validators: int,
    listed_attacks: list[Any],
    listed_defences: list[Any],
    *,
    malicious: Any = 0.3,
    rounds: int = 10,
    seed: int = 0,
    threads: int = 1,
    backend: str | None = None,
    repeatable_secrets: bool = False,
    **sections: Mapping[str, Any] | None,
) -> ExperimentConfig:
    """Settings of a job on a federation in memory.

    Args:
        hospitals, validators: how many there are.
        listed_attacks: each a name or an `Attack`.
        listed_defences: each a name, a rule (name, pipeline as data or object, stage) or a
            `DefenceConfig`.
        malicious: share of malicious hospitals, or several.
        rounds, seed, threads, repeatable_secrets: see `ExperimentConfig`.
        backend: "plain", "fixed" or "mpc" for every defence; None: each defence's own.
        sections: `train`, `privacy`, `participation` and `ledger`, mappings of single settings.

    Raises:
        ConfigError: a name or value that does not exist or does not fit.
        InputError: an attack or a defence of a type that is none.
    """
    taken = [attack_config(given) for given in listed_attacks]
    made = [each for each, _ in taken]
    objects: dict[str, Any] = {}
    for _, own in taken:
        objects |= own
    defences = [defence_config(given, backend) for given in listed_defences]
    ledger = dict(sections.pop("ledger", None) or {})
    ledger.setdefault("quorum", min(LedgerConfig.quorum, validators))
    built = {key: _section(key, given) for key, given in {**sections, "ledger": ledger}.items()}
    config = ExperimentConfig(
        name="python",
        seed=seed,
        rounds=rounds,
        threads=threads,
        malicious=malicious if made else 0.0,
        repeatable_secrets=repeatable_secrets,
        data=DataConfig(name=OBJECT, hospitals=hospitals, validators=validators),
        model=ModelConfig(name=OBJECT),
        attacks=made,
        defences=defences,
        **built,
    )
    return _permitted(config, objects)


def one_cell(
    config: ExperimentConfig, attack: Any, defence: Any, malicious: float, seed: int
) -> ExperimentConfig:
    """Settings of one cell of a job.

    Args:
        config: says all else.
        attack: a name, an `Attack` or its settings; None: nobody is malicious.
        defence: a name, a rule or a `DefenceConfig`.
        malicious: share of malicious hospitals.
        seed: of all draws that are not secret, but for how the data are divided.

    Raises:
        ConfigError: a name or value that does not exist or does not fit.
        InputError: an attack or a defence of a type that is none.
    """
    made: list[AttackConfig] = []
    own: dict[str, Any] = {}
    if attack is not None:
        acting, own = attack_config(attack)
        made = [acting]
    cell = replace(
        config,
        seed=seed,
        malicious=malicious if made else 0.0,
        attacks=made,
        defences=[defence_config(defence)],
    )
    return _permitted(cell, {**config.extensions.objects, **own})


def _permitted(config: ExperimentConfig, objects: dict[str, Any]) -> ExperimentConfig:
    """The settings with all code of the caller's own: he wrote these names, or holds what they
    stand for."""
    written = [name for name in config.own_names if name not in objects]
    imported = permit(written)
    config.permit(replace(imported, objects={**imported.objects, **objects}))
    return config


def attack_config(attack: Any) -> tuple[AttackConfig, dict[str, Any]]:
    """Settings of an attack, and its class by name where that does not ship.

    Raises:
        InputError: no name and no attack.
    """
    if isinstance(attack, str):
        return named_attack(attack), {}
    if isinstance(attack, type) and issubclass(attack, attacks.Attack):
        raise InputError(f"attack must be built, as {attack.__name__}(); got the class itself")
    if isinstance(attack, AttackConfig):
        return attack, {}
    if not isinstance(attack, attacks.Attack):
        raise InputError(
            f"attack must be a name or an attack (attacks.Attack); got {type(attack).__name__}"
        )
    cls = type(attack)
    if not attacks.is_attack(cls):
        raise InputError(f"attack {cls.__name__} must be marked with @attack; it is not")
    given = {f.name: getattr(attack, f.name) for f in fields(attack) if f.init}
    unset = [f.name for f in fields(attack) if f.default is None and given[f.name] is None]
    params = {
        key: list(v) if isinstance(v, tuple) else v for key, v in given.items() if key not in unset
    }
    for name in attacks.names():
        if attacks.find(name) is cls:
            return AttackConfig(name, params), {}
    name = f"{cls.__module__}:{cls.__name__}"
    return AttackConfig(name, params), {name: cls}


def defence_config(defence: Any, backend: str | None = None) -> DefenceConfig:
    """Settings of a defence; a bare rule runs in the clear unless `backend` says otherwise.

    Raises:
        ConfigError: an unknown name.
        InputError: no name, no rule and no settings.
    """
    if isinstance(defence, DefenceConfig):
        made = defence
    elif isinstance(defence, str):
        made = named_defence(defence)
    elif isinstance(defence, Mapping | Pipeline | Stage):
        rule = build_rule(defence)
        name = "rule" if len(rule.stages) > 1 else rule.stages[0].config[0].rpartition(":")[2]
        made = DefenceConfig(name=name, rule=rule.to_config(), reference=True)
    else:
        raise InputError(
            "defence must be a name, a rule or its settings (DefenceConfig); got "
            f"{type(defence).__name__}"
        )
    return made if backend is None else replace(made, backend=backend)


def _section(key: str, given: Mapping[str, Any] | None) -> Any:
    """One section of the settings from a mapping."""
    check_name("section", key, list(_SECTIONS))
    kind = _SECTIONS[key]
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{key} must be a mapping; got {given!r}")
    for name in given or {}:
        check_name(f"key of {key}", name, [f.name for f in fields(kind)])
    check_types(kind, given or {})
    return kind(**(given or {}))
