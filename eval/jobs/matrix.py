"""Every attack against every rule: a sweep of rules alone, in which a cell that cannot be (a rule
that cannot bear so many, an attack on a protocol that is not there) holds the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from eval.jobs.groups import Plan, plan_groups
from eval.jobs.single import plan_cell
from secure_fl.aggregation import build_rule, resolve_rule
from secure_fl.errors import require
from secure_fl.federation import Federation
from secure_fl.settings.objects import attack_config, defence_config
from secure_fl.settings.schema import DefenceConfig, ExperimentConfig


def bare_rule(name: str, params: Mapping[str, Any] | None = None) -> DefenceConfig:
    """A rule alone, in the clear, with a public root direction if it needs one.

    Nothing is opened in the clear, so that no minimum of rows stands in the way.
    """
    given = dict(params or {})
    return DefenceConfig(
        name=name,
        rule=resolve_rule(name),
        params=given,
        reference=build_rule(name, **given).uses_reference,
        minimum_hospitals=1,
        colluders=0,
    )


def plan_matrix(
    federation: Federation,
    attacks: Sequence[Any],
    defences: Sequence[Any],
    malicious: float,
    seeds: Sequence[int],
    config: ExperimentConfig,
) -> Plan:
    """Check every cell's settings.

    Args:
        federation: data, model and parties.
        attacks: names or objects, without "none".
        defences: as `secure_fl.run` takes them; rules alone by `bare_rule`.
        malicious: share of malicious hospitals.
        seeds: distinct.
        config: says all else.

    Raises:
        SecureFLError: nothing to run, a repetition, or a name that does not exist.
    """
    require(len(attacks) > 0, "attacks", "a list of at least one", list(attacks))
    require(0 < malicious <= 0.5, "malicious", "in (0, 0.5]", malicious)
    for attack in attacks:
        attack_config(attack)
    for defence in defences:
        defence_config(defence)
    cell = partial(plan_cell, config)
    return plan_groups(cell, federation, attacks, defences, [malicious], seeds, lenient=True)
