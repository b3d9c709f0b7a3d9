"""The report of a run: one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from eval import metrics, tables
from eval.figures import figures
from eval.jobs.completeness import Gaps, find_gaps
from eval.jobs.run_lock import only_writer
from eval.report.explorer import explorer_page
from eval.report.pages import render_page
from eval.results.records import MALFORMED, Cell, Row, Run, load_run
from eval.results.style import (
    NO_ATTACK,
    ROOT_ONLY,
    attack_label,
    defence_label,
    headline_fraction,
    looks,
)
from secure_fl.errors import InputError, SecureFLError
from secure_fl.files import write_atomic

WHOLE = Gaps()
REPORT, EXPLORER, FIGURES = "report.html", "explorer.html", "figures"
# One sentence a figure: how to read it.
READING = {
    "attack_success": (
        "A bar is the rate at which the attack reaches its goal on the test set; its grey part is "
        "what the clean model of the same method shows already, and the number is the difference."
    ),
    "success_by_fraction": (
        "A robust method stays at zero as the share of malicious hospitals grows; one that breaks "
        "down shows where."
    ),
    "accuracy_over_rounds": (
        "A line that stays beside its neighbours of the first panel is unharmed; the dotted line "
        "is what the validators' public rows reach without any hospital. Lines end with the last "
        "round: tuning after it, as the guarded method has it, shows in the tables alone."
    ),
    "success_over_rounds": (
        "How quickly each attack takes hold of the kept model; a defence that works keeps the line "
        "where it starts. These are raw rates of the rounds' models: what a clean model shows is "
        "not taken off, and tuning after the last round shows in the bars above alone."
    ),
    "reputation": (
        "Each thin line is one hospital's reputation on the chain, the thick line the group's "
        "median: the two colours should part, with blue above. Where they do not, the screen has "
        "not told the attackers from the others."
    ),
    "round_time": (
        "The bars show where the seconds of a round go, so the price of each layer can be read "
        "off against local training."
    ),
    "traffic": (
        "The dealer's material does not depend on any update and can be sent ahead; the online "
        "part cannot."
    ),
}

TRUST = (
    "Computing nodes are semi-honest: they follow the protocol and may remember everything. Any "
    "k−1 of the k nodes may pool what they saw and learn nothing beyond what was opened.",
    "The dealer of correlated randomness is a separate process, semi-honest, and does not collude "
    "with any node; it never sees an update or a share of one.",
    "Hospitals may be arbitrarily malicious, alone or together, and so may be what they submit. "
    "Each commits to its shares on the chain before aggregation.",
    "Validators hold their rows honestly and in the majority; their root rows are public to the "
    "aggregation.",
)

LIMITS = (
    "Attack results on SUPPORT2 or on LIDC-IDRI are not results on MIMIC-III or ChestX-ray14, the "
    "data of the paper: compare methods with each other, not levels with the paper.",
    "LIDC-IDRI images here are drawn from radiologists' outlines; they hold no CT pixels.",
    "The validators' public rows alone can come close to the federated model: read every accuracy "
    "beside the root-only line.",
    "Shares live in the ring of integers modulo 2^64 (CrypTen's), not in the paper's prime field.",
)


class Tile(NamedTuple):
    """One method at a glance."""

    label: str
    colour: str
    accuracy: str
    gain: str
    worst: str
    worst_attack: str


def write_report(run_folder: Path) -> Path:
    """Draw the figures of a finished run, write `report.html` and `explorer.html` beside it.

    Returns:
        The path of the report.

    Raises:
        InputError: the folder is not a finished run, the message names the file at fault; or
            another process writes into it.
    """
    pages = draw_pages(run_folder)
    with only_writer(run_folder):
        (run_folder / FIGURES).mkdir(exist_ok=True)
        for name, content in pages.items():
            write_atomic(run_folder / name, content)
    return run_folder / REPORT


def draw_pages(run_folder: Path) -> dict[str, bytes]:
    """All that is drawn from a run's files, by path within its folder; the report comes last.

    The same files give the same bytes under the same versions, wherever the folder is.

    Raises:
        InputError: the folder is not a finished run, the message names the file at fault; or a
            record is not of the form that a run writes.
    """
    try:
        return _draw_pages(run_folder)
    except SecureFLError:
        raise
    except MALFORMED as error:
        fault = f"{type(error).__name__}: {error}"
        raise InputError(
            f"the records in {run_folder} are not of the form that a run writes ({fault})"
        ) from error


def _draw_pages(run_folder: Path) -> dict[str, bytes]:
    run = load_run(run_folder)
    light = figures.draw_all(run)
    pages = {f"{FIGURES}/{name}.png": png for name, png in light.items()}
    pages[EXPLORER] = explorer_page(run_folder).encode()
    gaps = find_gaps(run_folder, run)
    pages[REPORT] = render(run, light, figures.draw_all(run, dark=True), gaps).encode()
    return pages


def render(
    run: Run,
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes] | None = None,
    gaps: Gaps = WHOLE,
) -> str:
    """Return the report as HTML.

    Args:
        run: what it is of.
        light, dark: PNGs by figure name.
        gaps: what the run lacks; said at the top, and below and in the tables.
    """
    rows = run.rows
    sheets = tables.sheets(rows, paper=False)
    degradation = tables.degradation_sheet(rows)
    if degradation.body:
        sheets.insert(2, degradation)
    sheets = [_noted(sheet, gaps) for sheet in sheets]
    return render_page(
        "report.html",
        run=run,
        lead=_sentence(str(run.config.get("description") or "")),
        facts=header_facts(run),
        insecure=insecure_cells(rows),
        missing=gaps.sentences,
        warned=warned_cells(run),
        repeatable=any(row.get("repeatable_secrets") for row in rows),
        tiles=tiles(rows),
        fraction=headline_fraction(rows),
        sheets=sheets,
        paper=tables.paper_sheet(rows),
        pictures=_pictures(light, dark or {}),
        all_cells=_noted(tables.cells_sheet(rows, gaps.cells), gaps),
        groups=cell_groups(run.cells),
        trust=TRUST,
        limits=LIMITS,
        opened=opened_summary(run.cells),
        ledger=ledger_summary(run.cells),
        environment=run.environment,
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        command=str(run.environment.get("command") or "secure-fl run"),
    )


def _noted(sheet: tables.Sheet, gaps: Gaps) -> tables.Sheet:
    """The sheet with a note of what is missing."""
    return sheet._replace(note=" ".join(note for note in (sheet.note, gaps.note) if note))


def header_facts(run: Run) -> list[tuple[str, str]]:
    """What was run, as name and value, for the head of the report."""
    config, facts = run.config, []
    data = config.get("data")
    data = data if isinstance(data, Mapping) else {}
    model = config.get("model")
    hospitals = data.get("hospitals") or next((r.get("hospitals") for r in run.rows), None)
    shares = sorted({r["malicious_fraction"] for r in run.rows if r["attack"] != NO_ATTACK})
    candidates = (
        ("Data", data.get("name")),
        ("Hospitals", hospitals),
        ("Malicious", ", ".join(f"{100 * share:.0f} %" for share in shares)),
        ("Dirichlet α", data.get("alpha")),
        ("Model", model.get("name") if isinstance(model, Mapping) else model),
        ("Rounds, at most", config.get("rounds")),
        ("Seed", config.get("seed")),
        ("Cells", len(run.cells)),
        ("Job", _duration(run.summary.get("seconds"))),
        ("Created", _moment(run.summary.get("created") or run.environment.get("created"))),
    )
    for name, value in candidates:
        if value is not None and value != "":
            facts.append((name, str(value)))
    return facts


def warned_cells(run: Run) -> list[str]:
    """What a reader must know of single cells before any number: failures, and who was left out."""
    failed = [f"{each['cell']} failed: {each['reason']}" for each in run.summary.get("failed", ())]
    return failed + [
        f"{row['cell']}: {said}" for row in run.rows for said in row.get("warnings") or ()
    ]


def insecure_cells(rows: Sequence[Row]) -> list[str]:
    """Methods whose correlated randomness came from a party that could decrypt everything."""
    return list(dict.fromkeys(defence_label(row) for row in rows if row.get("insecure")))


def tiles(rows: Sequence[Row]) -> list[Tile]:
    """Clean accuracy, gain over the root alone and worst attack at the headline fraction."""
    fraction = headline_fraction(rows)
    root = next((row["accuracy"] for row in rows if row["defence"] == ROOT_ONLY), None)
    made = []
    for look in looks(rows):
        own = [row for row in rows if row["defence"] == look.name]
        clean = next((row["accuracy"] for row in own if row["attack"] == NO_ATTACK), None)
        attacked = [
            (float(row["attack_success_excess"]), attack_label(str(row["attack"])))
            for row in own
            if row["malicious_fraction"] == fraction
            and row.get("attack_success_excess") is not None
        ]
        worst = max(attacked, default=None)
        made.append(
            Tile(
                look.label,
                look.colour,
                tables.percent(clean),
                "" if clean is None or root is None else tables.points(clean - root),
                tables.points(worst[0] if worst else None),
                worst[1] if worst else "no attack run",
            )
        )
    return made


def rejection_shares(cell: Cell) -> tuple[float | None, float | None]:
    """Share of submissions not accepted, of honest and of malicious hospitals.

    None where no round says, or where the group is empty.
    """
    bad = set(cell.row.get("malicious") or [])
    honest: list[bool] = []
    malicious: list[bool] = []
    for record in cell.rounds:
        for hospital, accepted in enumerate(record.get("accepted") or []):
            if accepted is not None:
                (malicious if hospital in bad else honest).append(not accepted)
    shares = [sum(group) / len(group) if group else None for group in (honest, malicious)]
    return shares[0], shares[1]


def cell_groups(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Cells by defence, each with its facts and its rounds as text."""
    groups: dict[str, dict[str, Any]] = {}
    for cell in cells:
        label = defence_label(cell.row)
        groups.setdefault(label, {"label": label, "cells": []})["cells"].append(_cell(cell))
    return list(groups.values())


def opened_summary(cells: Iterable[Cell]) -> list[list[str]]:
    """Each distinct opening of each MPC method: method, name, shape, how many times in all."""
    counted: dict[tuple[str, str, str], int] = {}
    for cell in cells:
        if cell.row.get("backend") == "mpc":
            for opening in cell.openings:
                shape = " × ".join(str(size) for size in opening.get("shape") or []) or "scalar"
                key = (defence_label(cell.row), str(opening.get("name")), shape)
                counted[key] = counted.get(key, 0) + 1
    return [[*key, str(times)] for key, times in counted.items()]


def ledger_summary(cells: Iterable[Cell]) -> list[list[str]]:
    """Cells with a chain: rounds by status, suspended hospitals, time, head of the chain."""
    lines = []
    for cell in cells:
        head = cell.row.get("chain_head")
        if not head:
            continue
        statuses = [r.get("status") for r in cell.rounds if r.get("round")]
        counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
        cost = cell.row.get("ledger_ms_per_round")
        lines.append(
            [
                _cell_label(cell.row),
                ", ".join(f"{number} {status}" for status, number in counts.items()),
                tables.DASH if cost is None else f"{cost:.0f}",
                str(head),
            ]
        )
    return lines


def _cell(cell: Cell) -> dict[str, Any]:
    row = cell.row
    honest, malicious = rejection_shares(cell)
    facts = [
        ("Malicious hospitals", ", ".join(str(h) for h in row.get("malicious") or []) or "none"),
        ("Rejected, honest", tables.percent(honest)),
        ("Rejected, malicious", tables.percent(malicious)),
        ("Rounds run", str(row.get("rounds_run") or tables.DASH)),
        ("Drift alarms", _drift_alarms(cell.rounds)),
        ("Backend", _backend(row)),
        ("Final model, SHA-256", str(row.get("final_model_sha256") or tables.DASH)),
        ("Head of the chain", str(row.get("chain_head") or tables.DASH)),
    ]
    return {
        "label": attack_label(str(row["attack"])),
        "fraction": None
        if row["attack"] == NO_ATTACK
        else f"{100 * row['malicious_fraction']:.0f} %",
        "accuracy": tables.percent(row["accuracy"]),
        "excess": tables.points(row.get("attack_success_excess")),
        "attacked": row["attack"] != NO_ATTACK,
        "facts": facts,
        "header": [
            "Round",
            "Test accuracy",
            "Attack success",
            "Validators' accuracy",
            "Loss",
            "F1",
            "Rejected",
            "Lowest reputation",
            "Drift",
            "Status",
            "Seconds",
        ],
        "rounds": [_round(record) for record in cell.rounds],
    }


def _drift_alarms(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Rounds in which the model moved much further than before, as text."""
    known = [record for record in rounds if record.get("drift") is not None]
    alarms = metrics.drift_alarms([float(record["drift"]) for record in known])
    marked = [str(record["round"]) for record, alarm in zip(known, alarms, strict=True) if alarm]
    return f"round {', '.join(marked)}" if marked else "none"


def _round(record: Mapping[str, Any]) -> list[str]:
    accepted = record.get("accepted") or []
    rejected = [str(i) for i, ok in enumerate(accepted) if ok is False]
    refused = [f"{hospital} (refused)" for hospital in record.get("refused") or {}]
    loss, reputation = record.get("loss"), record.get("reputation")
    spent = record.get("seconds")
    return [
        str(record.get("round")),
        tables.percent(record.get("test_accuracy")),
        tables.percent(record.get("attack_success")),
        tables.percent(record.get("accuracy")),
        tables.decimals(loss),
        tables.decimals(record.get("f1")),
        ", ".join(rejected + refused) or tables.DASH,
        tables.decimals(min(reputation)) if reputation else tables.DASH,
        tables.decimals(record.get("drift")),
        str(record.get("status") or tables.DASH),
        tables.seconds(sum(v or 0.0 for v in spent.values())) if spent else tables.DASH,
    ]


def _cell_label(row: Row) -> str:
    label = f"{defence_label(row)}, {attack_label(str(row['attack'])).lower()}"
    share = row["malicious_fraction"]
    return label if row["attack"] == NO_ATTACK else f"{label}, {100 * share:.0f} %"


def _backend(row: Row) -> str:
    backend = str(row.get("backend") or tables.DASH)
    return f"mpc, {row['nodes']} nodes" if backend == "mpc" and row.get("nodes") else backend


def _pictures(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "reading": READING[name],
            "light": base64.b64encode(png).decode("ascii"),
            "dark": base64.b64encode(dark.get(name, b"")).decode("ascii"),
        }
        for name, png in light.items()
    ]


def _sentence(text: str) -> str:
    """Upper-case the first letter alone and end with a full stop; empty stays empty."""
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def _moment(created: object) -> str:
    """Shorten an ISO time to minutes; leave anything else as it is."""
    text = str(created or "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return f"{moment:%Y-%m-%d %H:%M}{zone}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(float(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
