"""Tables of a run: built once as sheets of text, rendered for console, Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eval.results import participation
from eval.results.records import BY_CLASS, Row, check_rows
from eval.results.style import (
    NO_ATTACK,
    ROOT_ONLY,
    attack_label,
    attack_names,
    defence_label,
    headline_fraction,
    looks,
)
from secure_fl.hospital.privacy import DELTA

DASH = "–"
# Attacks in columns, up to this many; more of them become lines.
MOST_COLUMNS = 7
# Characters to a line of a table's note on the console.
NOTE_WIDTH = 110

# Tables 2 and 3 of the paper. It names no base rate, so its success rates may hold one.
PAPER: dict[str, dict[str, float | None]] = {
    "FedAvg": {
        "accuracy": 0.88,
        "label_flip": 0.42,
        "sign_flip": 0.51,
        "backdoor": 0.73,
        "time": 1.00,
        "ledger_ms": None,
    },
    "+ Secure Aggregation": {
        "accuracy": 0.88,
        "label_flip": 0.41,
        "sign_flip": 0.50,
        "backdoor": 0.72,
        "time": 1.05,
        "ledger_ms": None,
    },
    "+ Robust Aggregation": {
        "accuracy": 0.87,
        "label_flip": 0.20,
        "sign_flip": 0.28,
        "backdoor": 0.40,
        "time": 1.12,
        "ledger_ms": None,
    },
    "Proposed Framework": {
        "accuracy": 0.87,
        "label_flip": 0.08,
        "sign_flip": 0.12,
        "backdoor": 0.17,
        "time": 1.15,
        "ledger_ms": 320.0,
    },
}
PAPER_NOTE = (
    "The paper's figures come from other data (MIMIC-III and ChestX-ray14), 200 rounds and a "
    "number of malicious hospitals that it does not state beside the table. It does not say what "
    "a clean model's rate would be; ours is taken off, since for label flip it is the share of "
    "positive cases that a clean model misses. Compare the order of the methods, not the levels."
)


class Sheet(NamedTuple):
    """A table as text: the first column names the line, all others are numbers or a dash.

    `heat`, where given, has a number from 0 (good) to 1 (bad) for each cell after the first
    column; HTML shades by it.
    """

    title: str
    header: list[str]
    body: list[list[str]]
    note: str = ""
    heat: Sequence[Sequence[float]] = ()


def quality_sheet(rows: Sequence[Row]) -> Sheet:
    """Quality without attack, one line a defence, root-only last."""
    measures = ("accuracy", "precision", "recall", "f1", "auc")
    root = _mean(rows, "accuracy", ROOT_ONLY, NO_ATTACK)
    header = ["Method", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    if root is not None:
        header.append("Gain over root only")
    body = []
    for name, label in _methods(rows, with_root=True):
        values = [_mean(rows, measure, name, NO_ATTACK) for measure in measures]
        if all(value is None for value in values):
            continue
        line = [label, *(percent(value) for value in values[:-1]), decimals(values[-1])]
        if root is not None:
            own = name == ROOT_ONLY or values[0] is None
            line.append(DASH if own else points(_subtract(values[0], root)))
        body.append(line)
    alone = "Root only: the validators' public rows alone, no hospital. Gain in percentage points."
    notes = [
        "" if root is None else alone,
        averages_note(rows),
        privacy_note(rows),
        repeatable_note(rows),
        participation.note(rows),
    ]
    return Sheet("Quality without attack", header, body, " ".join(note for note in notes if note))


def averages_note(rows: Sequence[Row]) -> str:
    """What precision, recall, F1 and AUC are of more than two classes; empty for two."""
    if not any(row.get(BY_CLASS) for row in rows):
        return ""
    return "Precision, recall, F1 and AUC (each class against the rest) are means over the classes."


def class_sheet(rows: Sequence[Row]) -> Sheet | None:
    """F1 of each class without attack, one line a defence; None of two classes."""
    clean = {str(r["defence"]): r for r in rows if r["attack"] == NO_ATTACK and r.get(BY_CLASS)}
    names = list(dict.fromkeys(name for row in clean.values() for name in row[BY_CLASS]))
    if not names:
        return None
    body = []
    for name, label in _methods(rows, with_root=True):
        if name in clean:
            own = clean[name][BY_CLASS]
            body.append([label, *(percent(own.get(each, {}).get("f1")) for each in names)])
    return Sheet("F1 of each class without attack", ["Method", *names], body)


def privacy_note(rows: Sequence[Row]) -> str:
    """The largest budget that a hospital's noise spends in any cell; empty without noise."""
    noisy = [row for row in rows if row.get("noise_sigma") and row.get("rounds_run")]
    if not noisy:
        return ""
    spent = max(math.inf if row.get("epsilon") is None else row["epsilon"] for row in noisy)
    rounds = max(int(row["rounds_run"]) for row in noisy)
    shown = "infinite" if math.isinf(spent) else f"{spent:.3g}"
    return (
        f"Privacy: epsilon {shown} at delta {DELTA:g} after {rounds} rounds, for all rows of one "
        "hospital together, against whoever sees its noisy updates."
    )


def repeatable_note(rows: Sequence[Row]) -> str:
    """That secrets followed from the public seed, if they did."""
    if not any(row.get("repeatable_secrets") for row in rows):
        return ""
    return "Repeatable secrets: shares, keys and noise follow from the seed and protect nothing."


def attack_sheet(rows: Sequence[Row]) -> Sheet:
    """Attack success over the clean base at the headline fraction, by method and attack."""
    return _by_attack(
        rows,
        "Attack success over the clean model",
        "Percentage points above the rate of the clean model of the same method; lower is better. "
        f"{calibration_note(rows)}, so an attack that only shifts the threshold gains nothing, and "
        "below zero the attacked model does better than the clean one. Untargeted attacks: share "
        "of cases that turn from right to wrong, also where as many turn back; D_r is the balance.",
        lambda name, attack, fraction: _mean(rows, "attack_success_excess", name, attack, fraction),
    )


def calibration_note(rows: Sequence[Row]) -> str:
    """How models are calibrated, without a full stop."""
    if any(row.get(BY_CLASS) for row in rows):
        return "Every model names each class as often as it occurs among the validators' root rows"
    return "Every model answers positively as often as the validators' root rows are positive"


def degradation_sheet(rows: Sequence[Row]) -> Sheet:
    """Accuracy that each attack costs, D_r = A_c - A_a, at the headline fraction."""
    return _by_attack(
        rows,
        "Accuracy lost under attack, D_r",
        "D_r = clean accuracy less accuracy under attack, in percentage points (section 4.2 of the "
        "paper); lower is better, below zero the attacked model is the more accurate one.",
        lambda name, attack, fraction: _subtract(
            _mean(rows, "accuracy", name, NO_ATTACK),
            _mean(rows, "accuracy", name, attack, fraction),
        ),
    )


def cost_sheet(rows: Sequence[Row]) -> Sheet:
    """Time and traffic per round, averaged over all cells of a defence."""
    keys: tuple[tuple[str, Callable[[float], str]], ...] = (
        ("seconds", seconds),
        ("mpc_seconds_online", seconds),
        ("mpc_seconds_offline", seconds),
        ("mpc_bytes_online", megabytes),
        ("mpc_bytes_offline", megabytes),
    )
    body = []
    for name, label in _methods(rows):
        own = [row for row in rows if row["defence"] == name]
        line = [label]
        for key, render in keys:
            value = _per_round(own, key)
            line.append(DASH if not value else render(value))
        ledger = _average([row.get("ledger_ms_per_round") for row in own])
        line.append(DASH if not ledger else f"{ledger:.0f}")
        body.append(line)
    header = ["Method", "Round s", "MPC online s", "MPC offline s", "Online MB", "Offline MB"]
    return Sheet(
        "Cost of a round",
        [*header, "Ledger ms"],
        body,
        "Mean over all cells. Round s: a cell's whole time over its rounds, set-up and tests "
        "included. Online MB: sent by the busiest node; offline MB: by the dealer. Ledger ms: "
        "processor time.",
    )


def paper_sheet(rows: Sequence[Row]) -> Sheet | None:
    """This run beside the paper's tables, for the methods that have a counterpart there."""
    fraction = headline_fraction(rows)
    columns = [a for a in ("label_flip", "sign_flip", "backdoor") if a in attack_names(rows)]
    methods = {str(row["defence"]): row.get("paper_method") for row in rows}
    base_time = next(
        (
            _per_round([r for r in rows if r["defence"] == name], "seconds")
            for name, method in methods.items()
            if method == "FedAvg"
        ),
        None,
    )
    header = ["Method", "Accuracy", "paper"]
    for attack in columns:
        header += [attack_label(attack), "paper"]
    header += ["Time ×", "paper", "Ledger ms", "paper"]
    body = []
    for name, label in _methods(rows):
        paper = PAPER.get(str(methods.get(name)))
        if paper is None:
            continue
        own = [row for row in rows if row["defence"] == name]
        line = [
            label,
            percent(_mean(rows, "accuracy", name, NO_ATTACK)),
            percent(paper["accuracy"]),
        ]
        for attack in columns:
            line.append(percent(_mean(rows, "attack_success_excess", name, attack, fraction)))
            line.append(percent(paper[attack]))
        time = _per_round(own, "seconds")
        line.append(f"{time / base_time:.2f}" if time and base_time else DASH)
        line.append(f"{paper['time']:.2f}")
        ledger = _average([row.get("ledger_ms_per_round") for row in own])
        line.append(f"{ledger:.0f}" if ledger else DASH)
        line.append(f"{paper['ledger_ms']:.0f}" if paper["ledger_ms"] else DASH)
        body.append(line)
    if not body:
        return None
    note = PAPER_NOTE + " Time is relative to FedAvg."
    return Sheet("Beside the paper (other data, 200 rounds)", header, body, note)


def cells_sheet(rows: Sequence[Row], missing: Iterable[tuple[str, str, str]] = ()) -> Sheet:
    """Every cell with all its measures; D_r is clean accuracy less accuracy under attack.

    Args:
        rows: of the cells.
        missing: method, attack and share of cells that are not there.
    """
    body = []
    for row in rows:
        attacked = row["attack"] != NO_ATTACK
        clean = _mean(rows, "accuracy", str(row["defence"]), NO_ATTACK)
        drop = _subtract(clean, row["accuracy"]) if attacked else None
        body.append(
            [
                defence_label(row),
                attack_label(str(row["attack"])),
                f"{100 * row['malicious_fraction']:.0f}%" if attacked else DASH,
                *(percent(row.get(key)) for key in ("accuracy", "precision", "recall", "f1")),
                decimals(row.get("auc")),
                points(drop),
                percent(row.get("attack_success_raw")),
                percent(row.get("attack_success_base")),
                points(row.get("attack_success_excess")),
                str(row.get("rounds_run") or DASH),
                DASH if row.get("seconds") is None else f"{row['seconds']:.1f}",
            ]
        )
    header = ["Method", "Attack", "Malicious", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    header += ["D_r", "Success", "Clean base", "Excess", "Rounds", "Seconds"]
    for method, attack, share in missing:
        body.append([method, attack, share or DASH, *["missing"] * (len(header) - 3)])
    return Sheet("All cells", header, body, "D_r: clean accuracy less accuracy under attack.")


def sheets(rows: Iterable[Row], paper: bool = True) -> list[Sheet]:
    """Return the summary's sheets in reading order, empty ones left out."""
    checked = check_rows(rows)
    each = class_sheet(checked)
    chosen = [quality_sheet(checked), *([] if each is None else [each])]
    chosen += [attack_sheet(checked), cost_sheet(checked)]
    beside = paper_sheet(checked) if paper else None
    if beside is not None:
        chosen.append(beside)
    return [sheet for sheet in chosen if sheet.body]


def console_table(rows: Iterable[Row], paper: bool = False) -> Group:
    """Summary for the console: quality, attack success and cost below each other.

    Numbers never fold: on a console below 70 characters print it with `crop=False`.
    """
    return Group(*(part for sheet in sheets(rows, paper) for part in _rich(sheet)))


def markdown_table(rows: Iterable[Row], paper: bool = True) -> str:
    """Summary in GitHub's Markdown, one table a sheet, with its title and note."""
    return "\n".join(_markdown(sheet) for sheet in sheets(rows, paper))


def percent(value: float | None) -> str:
    """Format a share with one decimal: 0.8281 -> "82.8%"."""
    return DASH if value is None else f"{100 * value:.1f}%".replace("-", "−")


def decimals(value: float | None) -> str:
    """Format a measure that is no share of anything to three decimals."""
    return DASH if value is None else f"{value:.3f}"


def points(value: float | None) -> str:
    """Format a difference in percentage points with its sign: -0.012 -> "−1.2"."""
    if value is None:
        return DASH
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def seconds(value: float) -> str:
    """Format seconds to two decimals."""
    return f"{value:.2f}" if value >= 0.005 else "<0.01"


def megabytes(value: float) -> str:
    """Format bytes as decimal megabytes, three significant digits below 100."""
    size = value / 1e6
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"


def _rich(sheet: Sheet) -> list[RenderableType]:
    """Title, table and note; rich's own title and note would be as narrow as a narrow table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(sheet.header):
        first = index == 0
        # On a narrow console headings fold, not numbers.
        table.add_column(
            escape(name),
            justify="left" if first else "right",
            no_wrap=first,
            min_width=max((len(line[index]) for line in sheet.body), default=0),
            overflow="fold",
        )
    for line in sheet.body:
        table.add_row(*(Text(text) for text in line))
    note = Text(f"{sheet.note}\n" if sheet.note else "", style="italic dim")
    return [Text(sheet.title, style="bold"), table, Constrain(note, NOTE_WIDTH)]


def _markdown(sheet: Sheet) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"

    rule = "|---|" + "---:|" * (len(sheet.header) - 1)
    parts = [f"**{sheet.title}**", "", line(sheet.header), rule, *map(line, sheet.body), ""]
    return "\n".join([*parts, sheet.note, ""] if sheet.note else parts)


def _by_attack(
    rows: Sequence[Row],
    title: str,
    note: str,
    measure: Callable[[str, str, float | None], float | None],
) -> Sheet:
    """Differences in percentage points: a line a defence and a column an attack, or, where so
    many columns would not fit, the other way round."""
    fraction = headline_fraction(rows)
    names = attack_names(rows)
    labels, values = [], []
    for name, label in _methods(rows):
        line = [measure(name, attack, fraction) for attack in names]
        if any(value is not None for value in line):
            labels.append(label)
            values.append(line)
    title = f"{title}, {100 * (fraction or 0):.0f} % of hospitals malicious"
    across = [attack_label(name) for name in names]
    corner = "Method"
    if values and len(across) > MOST_COLUMNS > len(labels):
        corner, labels, across = "Attack", across, labels
        values = [list(column) for column in zip(*values, strict=True)]
    body = [[label, *map(points, line)] for label, line in zip(labels, values, strict=True)]
    heat = [[min(max(value or 0.0, 0.0), 1.0) for value in line] for line in values]
    return Sheet(title, [corner, *across], body, note, heat)


def _methods(rows: Sequence[Row], with_root: bool = False) -> list[tuple[str, str]]:
    """Name and label of each defence in order; root-only last, if asked for and present."""
    methods = [(look.name, look.label) for look in looks(rows)]
    root = [row for row in rows if row["defence"] == ROOT_ONLY]
    if with_root and root:
        methods.append((ROOT_ONLY, defence_label(root[0])))
    return methods


def _mean(
    rows: Sequence[Row], key: str, defence: str, attack: str, fraction: float | None = None
) -> float | None:
    """Mean of a measure over the matching cells (one per seed)."""
    return _average(
        [
            row.get(key)
            for row in rows
            if row["defence"] == defence
            and row["attack"] == attack
            and (attack == NO_ATTACK or fraction is None or row["malicious_fraction"] == fraction)
        ]
    )


def _average(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _per_round(rows: Sequence[Row], key: str) -> float | None:
    """Total of a measure over the cells, divided by the rounds that they ran."""
    counted = [row for row in rows if row.get(key) is not None and row.get("rounds_run")]
    rounds = sum(int(row["rounds_run"]) for row in counted)
    return sum(float(row[key]) for row in counted) / rounds if rounds else None


def _subtract(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
