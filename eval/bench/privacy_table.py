"""The table of `secure-fl privacy`: for the terminal, as Markdown and as rows of data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from eval.bench.privacy import MEMBERSHIP, MODEL, RATES, UPDATE, Leak, Protection
from eval.metrics.privacy import Estimate, Told
from secure_fl.hospital.privacy import DELTA

TITLE = "What is read out of what is opened"
# What the columns are.
LEGEND = (
    f"ε: privacy budget at δ = {DELTA:g} of what is seen once, and of all rounds; ∞ without "
    "noise. Rows' error: squared distance of a row rebuilt from the true one, as a share of a "
    "guess's (the root's mean row), median: 0 is exact, 1 tells no more than the guess. AUC, loss "
    "and likelihood ratio: how well members of the training rows are told from others, 0.5 is by "
    "chance. Members at 0.1 % and 1 %: share of members found by the likelihood ratio where so "
    "many of the others are taken for members. Model's AUC: of the final model on the test rows, "
    "what protection costs."
)
# Who sees it.
SEEN = {UPDATE: "one update (no MPC)", "aggregate": "aggregate (MPC)", MODEL: "final model"}
_BUDGETS = ("epsilon", "epsilon_rounds")
_SHOWN = ("loss", "likelihood ratio")
HEADS = (
    "Seen",
    "Clip, noise",
    "ε, once",
    "ε, all rounds",
    "Rows' error",
    *(f"AUC, {name}" for name in _SHOWN),
    *(f"Members at {100 * rate:g} %" for rate in RATES),
    "Model's AUC",
)


def cells(found: Sequence[Leak], intervals: bool = True) -> list[tuple[str, ...]]:
    """One line a leak, under `HEADS`; members are those that the likelihood ratio names.

    Args:
        found: the leaks.
        intervals: write them beside the figures.
    """
    return [
        (
            SEEN[leak.opened],
            leak.protection.name,
            _budget(leak.epsilon),
            _budget(leak.epsilon_rounds),
            _figure(leak.error, 2, intervals),
            *(_figure(leak.membership[name].auc, 3, intervals) for name in _SHOWN),
            *(
                _figure(each, 2, intervals, percent=True)
                for each in leak.membership[_SHOWN[-1]].found
            ),
            f"{leak.model_auc:.3f}",
        )
        for leak in found
    ]


def privacy_table(found: Sequence[Leak]) -> Table:
    """The leaks as a table for the terminal, without intervals."""
    table = Table(title=TITLE)
    for place, head in enumerate(HEADS):
        table.add_column(head, justify="left" if place < 2 else "right")
    for line in cells(found, intervals=False):
        table.add_row(*line)
    return table


def markdown(found: Sequence[Leak]) -> str:
    """The leaks as a table in Markdown."""
    lines = [HEADS, ("---", "---", *["---:"] * (len(HEADS) - 2)), *cells(found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def records(found: Sequence[Leak]) -> list[dict[str, Any]]:
    """Every figure as a row of its own, for JSON; an infinite budget is null."""
    rows = []
    for leak in found:
        head = {
            "seen": leak.opened,
            "protection": leak.protection.name,
            "clip_norm": leak.protection.clip_norm,
            "noise_sigma": leak.protection.sigma,
            **{key: _finite(getattr(leak, key)) for key in _BUDGETS},
            "model_auc": leak.model_auc,
        }
        figures = [("gradient inversion", "median_error", leak.error)]
        for attack in MEMBERSHIP:
            told = leak.membership[attack]
            figures.append((attack, "auc", told.auc))
            for rate, each in zip(RATES, told.found, strict=True):
                figures.append((attack, f"true_positives_at_{rate:g}", each))
        rows += [
            {**head, "attack": attack, "measure": measure, **each._asdict()}
            for attack, measure, each in figures
        ]
    return rows


def from_records(rows: Sequence[Mapping[str, Any]]) -> list[Leak]:
    """The leaks that `records` wrote, in the same order."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["protection"], row["seen"]), []).append(row)
    found = []
    for (name, seen), group in groups.items():
        first = group[0]
        figures = {
            (row["attack"], row["measure"]): Estimate(row["value"], row["low"], row["high"])
            for row in group
        }
        once, all_rounds = (math.inf if first[k] is None else first[k] for k in _BUDGETS)
        found.append(
            Leak(
                seen,
                Protection(name, first["clip_norm"], first["noise_sigma"]),
                once,
                all_rounds,
                figures["gradient inversion", "median_error"],
                {
                    attack: Told(
                        figures[attack, "auc"],
                        tuple(figures[attack, f"true_positives_at_{rate:g}"] for rate in RATES),
                    )
                    for attack in MEMBERSHIP
                },
                first["model_auc"],
            )
        )
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _budget(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _figure(each: Estimate, digits: int, intervals: bool, percent: bool = False) -> str:
    value, low, high = (100 * part if percent else part for part in each)
    shown = f"{value:.{digits}f}{' %' if percent else ''}"
    return f"{shown} ({low:.{digits}f} to {high:.{digits}f})" if intervals else shown
