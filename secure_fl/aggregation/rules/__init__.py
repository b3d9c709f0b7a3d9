"""Named rules: the pipelines that ship, a family a file, and how to get one by its name."""

from secure_fl.aggregation.rules.registry import (
    DEFAULT_MAX_ABS,
    NORM_MAX_ABS,
    build_rule,
    check_not_left_out,
    describe_rule,
    make_rule,
    resolve_rule,
    rule,
    rule_builders,
    rule_names,
)

__all__ = [
    "DEFAULT_MAX_ABS",
    "NORM_MAX_ABS",
    "build_rule",
    "check_not_left_out",
    "describe_rule",
    "make_rule",
    "resolve_rule",
    "rule",
    "rule_builders",
    "rule_names",
]
