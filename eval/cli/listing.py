"""`secure-fl list`: every name that a setting can take."""

from __future__ import annotations

import argparse

from ledger.files import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`secure-fl list` has no options of its own."""


def command(options: argparse.Namespace) -> int:
    """Print every name that a setting can take, with one line each."""
    import attacks
    from secure_fl import aggregation, data, models
    from secure_fl.data.schemes import SCHEMES
    from secure_fl.descriptions import first_line
    from secure_fl.installed import GROUPS, installed, why_refused
    from secure_fl.settings.config import presets

    sections = {
        "attacks (attack=)": {n: first_line(attacks.find(n)) for n in attacks.names()},
        "defences (defence=)": presets("defence"),
        "rules (defence= or defence.rule=)": {
            n: aggregation.describe_rule(n) for n in aggregation.rule_names()
        },
        "data sets (data=)": {n: data.describe(n) for n in data.names()},
        "partitions (data.partition=)": {n: first_line(way) for n, way in SCHEMES.items()},
        "models (model=)": {n: models.describe(n) for n in models.names()},
        "experiments (experiment=)": presets("experiment"),
    }
    for title, names in sections.items():
        print(title)
        width = max(len(name) for name in names)
        for name, line in names.items():
            print(f"  {name:<{width}}  {line}")
        print()
    shipped = {
        "attack": attacks.names(),
        "rule": aggregation.rule_names(),
        "stage": list(aggregation.stage_factories()),
        "dataset": data.names(),
        "model": models.names(),
    }
    found = [each for kind in GROUPS for each in installed(kind)]
    if found:
        print("of installed packages, which nothing here has looked into")
    for each in found:
        flaw = why_refused(each, shipped[each.kind])
        told = f"refused: it {flaw}" if flaw else f"{each.target}, of {each.package}"
        print(f"  {each.kind} {printable(each.name)}  {printable(told)}")
    return 0
