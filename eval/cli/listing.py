"""`secure-fl list`: every name that a setting can take."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`secure-fl list` has no options of its own."""


def command(options: argparse.Namespace) -> int:
    """Print every name that a setting can take, with one line each."""
    import attacks
    from secure_fl import aggregation, data, models
    from secure_fl.descriptions import first_line
    from secure_fl.settings.config import presets

    sections = {
        "attacks (attack=)": {n: first_line(attacks.find(n)) for n in attacks.names()},
        "defences (defence=)": presets("defence"),
        "rules (defence= or defence.rule=)": {
            n: aggregation.describe_rule(n) for n in aggregation.rule_names()
        },
        "data sets (data=)": {n: data.describe(n) for n in data.names()},
        "models (model=)": {n: models.describe(n) for n in models.names()},
        "experiments (experiment=)": presets("experiment"),
    }
    for title, names in sections.items():
        print(title)
        width = max(len(name) for name in names)
        for name, line in names.items():
            print(f"  {name:<{width}}  {line}")
        print()
    return 0
