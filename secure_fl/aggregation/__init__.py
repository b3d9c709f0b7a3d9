"""Robust aggregation rules, each written once for every backend."""

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.pipeline import (
    Context,
    Pipeline,
    Stage,
    make_stage,
    stage,
    stage_factories,
)
from secure_fl.aggregation.rules import (
    build_rule,
    check_not_left_out,
    describe_rule,
    make_rule,
    resolve_rule,
    rule,
    rule_names,
)

__all__ = [
    "Context",
    "Opens",
    "Ops",
    "Pipeline",
    "Secret",
    "Stage",
    "Updates",
    "build_rule",
    "check_not_left_out",
    "describe_rule",
    "make_rule",
    "make_stage",
    "resolve_rule",
    "rule",
    "rule_names",
    "stage",
    "stage_factories",
]
