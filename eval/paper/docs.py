"""Tables of README.md and docs/, written from the data in `docs/results/`.

    python -m eval.paper.docs                                   # write the tables again
    python -m eval.paper.docs --run main=runs/NAME              # take a run's rows, then write
    python -m eval.paper.docs --table2 runs/paper               # take table2.json; or --table3
    python -m eval.paper.docs --defence runs/defence            # take defence.json; or --held-out,
                                                                # --layers, --tuning-aware
    python -m eval.paper.docs --matrix runs/matrix              # take means and maps, then write
    python -m eval.paper.docs --mpc rules=rules.jsonl           # take what bench mpc --json printed
    python -m eval.paper.docs --report runs/report              # take a whole report of the paper

A table stands between the lines `<!-- NAME:begin -->` and `<!-- NAME:end -->`, a single figure
between `<!--NAME-->` and `<!--/-->`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from eval.paper.cost import cost_sheets
from eval.paper.mpc_costs import HEADER as COSTS_HEADER
from eval.paper.mpc_costs import mpc_figures, rule_lines
from eval.paper.passages import (
    by_task,
    command_block,
    defence_asked,
    defence_attacks,
    defence_overall,
    variants,
)
from eval.paper.records import (
    TABLES,
    Row,
    matrix,
    mpc,
    report,
    runs,
    table,
    take_matrix,
    take_mpc,
    take_report,
    take_run,
    take_table,
)
from eval.paper.rows import FEDAVG, ORDER, distinct, mean_text, over_clean, values
from eval.paper.sentences import figures
from eval.results.matrix import WORDS, WORST_HEADER, Matrix, worst_lines
from eval.results.style import ALONE, NO_ATTACK, ROOT_ONLY, attack_label
from eval.tables.averages import average, mean, per_round, subtract
from eval.tables.paper import PAPER
from eval.tables.sheet import DASH, decimals, megabytes, percent, points
from eval.tables.summary import markdown_sheets
from secure_fl.errors import InputError
from secure_fl.files import write_atomic
from secure_fl.settings.config import load_defence

DOCUMENTS = ("README.md", "docs/results.md", "docs/matrix.md")
GUARDED = "guarded"
# Where a reader's own results of each table's command go.
PLACES = {
    "table2": "runs/paper",
    "table3": "runs/paper",
    "defence": "runs/defence",
    "held_out": "runs/held-out",
    "layers": "runs/layers",
    "tuning_aware": "runs/tuning-aware",
}
# Data sets for people.
DATA_TITLES = {"support2": "SUPPORT2", "lidc_nodules": "LIDC nodules", "digits": "Digits"}
T = TypeVar("T")
# Runs beside the main job that its long table has as lines: after which method, under which words.
BESIDE = (
    ("fedavg", "overstated", "the same, malicious hospitals overstate their rows"),
    ("fedavg", "unweighted", "mean without weights"),
    ("secure_aggregation", "unbound", "the same, malicious hospitals keep to no norm"),
)
_MARKED = re.compile(
    r"(?P<begin><!-- (?P<name>[\w-]+):begin -->\n)(?P<body>.*?)(?P<end><!-- (?P=name):end -->)",
    re.S,
)
_INLINE = re.compile(r"(?P<begin><!--(?P<name>[\w-]+)-->)[^<]*(?P<end><!--/-->)")


def rendered(root: Path) -> dict[str, str]:
    """Each document as it must be, by its path.

    Raises:
        InputError: data that are not there, or a marked place that no table is for.
    """
    of = {name: table(root, name)[0] for name in ("table2", "defence", "layers", "tuning_aware")}
    makers, single = tables(root), figures(runs(root), of) | mpc_figures(mpc(root))

    def filled(found: re.Match[str]) -> str:
        return f"{found['begin']}{_known(makers, found['name'])()}{found['end']}"

    def told(found: re.Match[str]) -> str:
        return f"{found['begin']}{_known(single, found['name'])}{found['end']}"

    texts = {name: (root / name).read_text(encoding="utf-8") for name in DOCUMENTS}
    return {name: _INLINE.sub(told, _MARKED.sub(filled, text)) for name, text in texts.items()}


def _known(listed: Mapping[str, T], name: str) -> T:
    if name not in listed:
        raise InputError(f"a marked place must be one of {', '.join(listed)}; got {name!r}")
    return listed[name]


def tables(root: Path) -> dict[str, Callable[[], str]]:
    """What makes each table as Markdown, by its name.

    Raises:
        InputError: data that are not there; so does a table whose own are not.
    """
    kept = runs(root)
    attacks = list(dict.fromkeys(r["attack"] for r in kept["main"] if r["attack"] != NO_ATTACK))
    seeds = partial(_joined, kept)
    take = partial(table, root)
    commands = {
        f"{name}-command": partial(lambda name: command_block(take(name)[1], PLACES[name]), name)
        for name in PLACES
    }
    return {
        "main": lambda: _main(kept["main"], attacks),
        "main-long": lambda: _main_long(kept["main"], kept, attacks),
        "traffic": lambda: _traffic(kept["main"]),
        "guarded-seeds": lambda: _seeds(seeds("seeds")),
        "tuning": lambda: _tuning(seeds("seeds"), seeds("untuned")),
        "tuning-small": lambda: _tuning(seeds("small"), seeds("small-untuned")),
        "table2": lambda: _table2(*take("table2")),
        "table3": lambda: _table3(*take("table3")),
        "defence": lambda: defence_overall(take("defence")[0]),
        "held_out": lambda: defence_asked(take("held_out")[0]),
        "defence-attacks": lambda: defence_attacks(take("defence")[0]),
        "layers": lambda: variants(take("layers")[0]),
        "tuning_aware": lambda: by_task(take("tuning_aware")[0]),
        "matrix": lambda: _worst(matrix(root)),
        "mpc": lambda: _grid(COSTS_HEADER, rule_lines(mpc(root)["rules"])),
        "report-command": lambda: command_block(report(root), "runs/report"),
        **commands,
    }


def _joined(kept: Mapping[str, Sequence[Row]], kind: str) -> list[Row]:
    """Rows of the runs of one kind, one run a seed: `seeds-0`, `seeds-1`, ..."""
    named = re.compile(re.escape(kind) + r"-\d+")
    return [row for name, rows in kept.items() if named.fullmatch(name) for row in rows]


def _grid(
    header: Sequence[str], lines: Iterable[Sequence[str]], words: Collection[str] = ()
) -> str:
    """A table in Markdown: the first column and `words` to the left, others to the right."""
    body = [header, *lines]
    drawn = ["| " + " | ".join(line) + " |" for line in body]
    sides = "|".join("---" if name in words else "---:" for name in header[1:])
    return "\n".join([drawn[0].replace("|  |", "| |"), f"|---|{sides}|", *drawn[1:], ""])


def _main(rows: Sequence[Row], attacks: Sequence[str]) -> str:
    clean = partial(mean, rows, attack=NO_ATTACK)
    root = clean("auc", defence=ROOT_ONLY)
    gain = subtract(clean("auc", defence=FEDAVG), root)
    lines = []
    for name, label in _methods(rows, alone=True):
        auc = clean("auc", defence=name)
        own = subtract(auc, root)
        kept = None if name == ROOT_ONLY or own is None or not gain else own / gain
        quality = [percent(clean("accuracy", defence=name)), decimals(auc)]
        gained = DASH if kept is None else f"{100 * kept:.0f}%"
        lines.append([label, *quality, gained, *_excess(rows, name, attacks)])
    return _grid(["Method", "Accuracy", "AUC", "Gain kept", *map(attack_label, attacks)], lines)


def _main_long(
    rows: Sequence[Row], beside: Mapping[str, Sequence[Row]], attacks: Sequence[str]
) -> str:
    root = mean(rows, "accuracy", ROOT_ONLY, NO_ATTACK)
    lines = []

    def line(own: Sequence[Row], name: str, label: str) -> list[str]:
        accuracy = mean(own, "accuracy", name, NO_ATTACK)
        gained = DASH if name == ROOT_ONLY else points(subtract(accuracy, root))
        auc = decimals(mean(own, "auc", name, NO_ATTACK))
        return [label, percent(accuracy), auc, gained, *_excess(own, name, attacks)]

    for name, label in _methods(rows, alone=True):
        lines.append(line(rows, name, label))
        lines += [
            line(beside[key], str(beside[key][0]["defence"]), said)
            for after, key, said in BESIDE
            if after == name
        ]
    header = ["Method", "Accuracy", "AUC", "Gain over root only", *map(attack_label, attacks)]
    return _grid(header, lines)


def _traffic(rows: Sequence[Row]) -> str:
    lines = []
    for name, label in _methods(rows):
        own = [row for row in rows if row["defence"] == name]
        sent = [per_round(own, key) for key in ("mpc_bytes_online", "mpc_bytes_offline")]
        if any(sent):
            ledger = average([row.get("ledger_ms_per_round") for row in own])
            told = [DASH if each is None else megabytes(each) for each in sent]
            lines.append([label, *told, DASH if ledger is None else f"{ledger:.0f}"])
    return _grid(["Method", "Online MB", "Offline MB", "Ledger ms"], lines)


def _seeds(rows: Sequence[Row]) -> str:
    """Mean over seeds of attack success over clean, and the worst seed in brackets."""
    columns = [(name, share) for name in ("fedavg", GUARDED) for share in (0.3, 0.4)]
    named = {"fedavg": "FedAvg", GUARDED: GUARDED}
    lines = []
    for attack in dict.fromkeys(r["attack"] for r in rows if r["attack"] != NO_ATTACK):
        line = [attack_label(attack)]
        for name, share in columns:
            found = values(
                rows, "attack_success_excess", defence=name, attack=attack, malicious_fraction=share
            )
            line.append(f"{points(average(found))} ({points(max(found)).lstrip('+')})")
        lines.append(line)
    header = [f"{named[name]}, {100 * share:.0f} %" for name, share in columns]
    return _grid(["Attack success over clean", *header], lines)


def _tuning(rows: Sequence[Row], untuned: Sequence[Row]) -> str:
    """What the last tuning costs and buys, the backdoors at 40 %."""
    attacks = ("backdoor", "adaptive_backdoor")
    root = mean(rows, "accuracy", ROOT_ONLY, NO_ATTACK)
    lines = []
    for label, own, name in (
        ("FedAvg", rows, "fedavg"),
        ("guarded, before the last tuning", untuned, GUARDED),
        ("guarded", rows, GUARDED),
        ("root only", rows, ROOT_ONLY),
    ):
        accuracy, auc = (mean(own, key, name, NO_ATTACK) for key in ("accuracy", "auc"))
        gained = DASH if name == ROOT_ONLY else points(subtract(accuracy, root))
        lines.append(
            [label, percent(accuracy), decimals(auc), gained, *_excess(own, name, attacks, 0.4)]
        )
    header = ["Accuracy", "AUC", "Gain over root only, points", *map(attack_label, attacks)]
    return _grid(["", *header], lines)


def _table2(rows: Sequence[Row], made: Mapping[str, Any]) -> str:
    """Accuracy and attack success over seeds beside the paper's numbers, data set by data set."""
    rounds = {data: part["rounds"] for part in made.get("parts", [made]) for data in part["data"]}
    several = distinct(rows, "data")
    told = []
    for data in several:
        own = [row for row in rows if row["data"] == data]
        title = f"**{DATA_TITLES.get(data, data)}**\n\n" if len(several) > 1 else ""
        told.append(title + _table2_of(own, rounds[data]))
    return "\n".join(told)


def _table2_of(rows: Sequence[Row], rounds: int) -> str:
    attacks = list(dict.fromkeys(r["attack"] for r in rows if r["attack"] != NO_ATTACK))
    names = [*ORDER, ROOT_ONLY]
    header = ["Method", "Clean accuracy", "paper", "AUC"]
    for attack in attacks:
        header += [attack_label(attack), "over clean", "paper"]
    lines = []
    for name in (each for each in names if any(r["method"] == each for r in rows)):
        defence = load_defence(name)
        own = PAPER.get(str(defence.paper_method), {})
        clean = [
            mean_text(values(rows, key, method=name, attack=NO_ATTACK), scale=scale, digits=digits)
            for key, scale, digits in (("clean_accuracy", 100, 1), ("auc", 1, 3))
        ]
        line = [defence.label, clean[0], _whole(own.get("accuracy")), clean[1]]
        for attack in attacks:
            raw = values(rows, "attack_success", method=name, attack=attack)
            over = values(rows, over_clean, method=name, attack=attack)
            line += [mean_text(raw), mean_text(over, sign=True), _whole(own.get(attack))]
        lines.append(line)
    seeds = len({row["seed"] for row in rows})
    told = (
        f"{seeds} seeds, {rounds} rounds (the paper: 200); percent, ± half the width of the 95 % "
        "interval."
    )
    return f"{told}\n\n{_grid(header, lines)}"


def _table3(rows: Sequence[Row], made: Mapping[str, object]) -> str:
    """What a round costs, in both readings, each with its note."""
    seeds = len({row["seed"] for row in rows})
    told = f"{seeds} seeds, {made['rounds']} rounds, under MPC, no attack."
    return f"{told}\n\n{markdown_sheets(cost_sheets(rows))}"


def _worst(found: Matrix) -> str:
    """A line a rule: how it does without attack and at worst."""
    measured = [line for line in worst_lines(found) if line[1] != DASH]
    return _grid(WORST_HEADER, [[f"`{line[0]}`", *line[1:]] for line in measured], words=WORDS)


def _whole(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f}"


def _methods(rows: Sequence[Row], alone: bool = False) -> list[tuple[str, str]]:
    labels = {row["defence"]: str(row["label"]) for row in rows}
    names = [*ORDER, *(ALONE if alone else ())]
    return [(name, labels[name]) for name in names if name in labels]


def _excess(
    rows: Sequence[Row], name: str, attacks: Sequence[str], share: float | None = None
) -> list[str]:
    return [points(mean(rows, "attack_success_excess", name, each, share)) for each in attacks]


def main(argv: Sequence[str] | None = None) -> int:
    """Take new rows, write the documents; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eval.paper.docs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--root", type=Path, default=Path(), help="of the repository")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=DIR[,DIR]")
    for name in TABLES:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, metavar="DIR[,DIR]", help="of secure-fl paper")
    parser.add_argument("--matrix", metavar="DIR[,DIR]", help="of secure-fl matrix")
    parser.add_argument("--mpc", action="append", default=[], metavar="KIND=FILE")
    parser.add_argument("--report", type=Path, metavar="DIR", help="of secure-fl paper")
    options = parser.parse_args(argv)
    for given in options.run:
        name, _, folders = given.partition("=")
        take_run(options.root, name, [Path(each) for each in folders.split(",")])
    for name in TABLES:
        if getattr(options, name) is not None:
            folders = getattr(options, name).split(",")
            take_table(options.root, name, [Path(each) for each in folders])
    for given in options.mpc:
        kind, _, file = given.partition("=")
        take_mpc(options.root, kind, Path(file))
    if options.matrix is not None:
        take_matrix(options.root, [Path(each) for each in options.matrix.split(",")])
    if options.report is not None:
        take_report(options.root, options.report)
    for name, text in rendered(options.root).items():
        write_atomic(options.root / name, text.encode())
        print(f"written: {name}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
