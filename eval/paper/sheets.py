"""Tables of the paper's parts over seeds, beside the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.paper.rows import (
    Measure,
    Row,
    attacks_of,
    distinct,
    mean_text,
    methods_of,
    values,
)
from eval.results.style import NO_ATTACK, attack_label, malicious_words
from eval.tables.paper import PAPER
from eval.tables.sheet import DASH, Sheet

SEEDS_NOTE = "Means over the seeds; ±: half the width of the 95 % interval (Student's t)."


def table2_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Table 2 of one data set: the paper's measures beside its numbers, and what they lack."""
    sheets = [
        beside_paper(rows),
        excess_sheet(rows),
        gain_sheet(rows),
        quality_sheet(rows),
        degradation_sheet(rows),
        detection_sheet(rows),
        confusion_sheet(rows),
    ]
    return [sheet for sheet in sheets if sheet.body]


def beside_paper(rows: Sequence[Row]) -> Sheet:
    """Clean accuracy and raw attack success by method, each with the paper's number."""
    attacks = attacks_of(rows)
    papers = {row["defence"]: row["paper_method"] for row in rows}
    header = ["Method", "Clean accuracy", "paper"]
    for attack in attacks:
        header += [attack_label(attack), "paper"]
    body = []
    for name, label in methods_of(rows, alone=True):
        own = PAPER.get(str(papers[name]), {})
        line = [label, _of(rows, "accuracy", name, NO_ATTACK), _paper(own.get("accuracy"))]
        for attack in attacks:
            line += [_of(rows, "attack_success_raw", name, attack), _paper(own.get(attack))]
        body.append(line)
    return Sheet(
        f"Clean accuracy and attack success beside the paper, percent{_seen(rows)}",
        header,
        body,
        f"{SEEDS_NOTE} Attack success as the paper counts it, without a base rate: of label flip "
        "the share of positive cases that are missed, which a clean model misses in part too "
        "(next table). The paper's data are others (MIMIC-III, ChestX-ray14), and it does not "
        "say how many hospitals are malicious here; compare the order of the methods, not the "
        "levels.",
    )


def excess_sheet(rows: Sequence[Row]) -> Sheet:
    """Attack success over the clean model of the same method."""
    note = f"Points over the clean model of the same method and seed; lower is better. {SEEDS_NOTE}"
    title = f"Attack success over the clean model, points{_seen(rows)}"
    return _by_attack(rows, title, "attack_success_excess", note, sign=True)


def gain_sheet(rows: Sequence[Row]) -> Sheet:
    """AUC, and the share of the hospitals' gain over the validators' rows that is kept."""
    attacks = [NO_ATTACK, *attacks_of(rows)]
    header = ["Method", "AUC", *(f"kept: {attack_label(attack).lower()}" for attack in attacks)]
    body = []
    for name, label in methods_of(rows, alone=True):
        auc = mean_text(values(rows, "auc", defence=name, attack=NO_ATTACK), scale=1, digits=3)
        body.append([label, auc, *(_of(rows, "gain_retained", name, each) for each in attacks)])
    told = {row["seed"] for row in rows if row["gain_retained"] is not None}
    if not told:
        header, body = header[:2], [line[:2] for line in body]
    return Sheet(
        f"Federated gain retained, percent{_seen(rows)}",
        header,
        body,
        "(AUC of the method - AUC of root only) / (AUC of FedAvg without attack - AUC of root "
        f"only). Told for {len(told)} of {len(distinct(rows, 'seed'))} seeds, where FedAvg gains "
        f"at least 1 point. {SEEDS_NOTE}",
    )


def quality_sheet(rows: Sequence[Row]) -> Sheet:
    """Accuracy, precision, recall, F1 without attack."""
    keys = ("accuracy", "precision", "recall", "f1")
    body = [
        [label, *(_of(rows, key, name, NO_ATTACK) for key in keys)]
        for name, label in methods_of(rows, alone=True)
    ]
    header = ["Method", "Accuracy", "Precision", "Recall", "F1"]
    return Sheet(f"Quality without attack, percent{_seeds(rows)}", header, body, SEEDS_NOTE)


def degradation_sheet(rows: Sequence[Row]) -> Sheet:
    """D_r of section 4.2."""
    note = f"D_r = clean accuracy less accuracy under attack (section 4.2), points. {SEEDS_NOTE}"
    title = f"Accuracy lost under attack, D_r{_seen(rows)}"
    return _by_attack(rows, title, "degradation", note, sign=True)


def detection_sheet(rows: Sequence[Row]) -> Sheet:
    """Precision, recall and F1 of naming attackers; methods that name nobody are left out."""
    measures = ("detection_precision", "detection_recall", _naming_f1, "honest_named")
    body = []
    for name, label in methods_of(rows):
        for attack in attacks_of(rows):
            line = [_of(rows, measure, name, attack) for measure in measures]
            if any(text != DASH for text in line):
                body.append([f"{label}, {attack_label(attack).lower()}", *line])
    return Sheet(
        f"Attackers named, percent{_seen(rows)}",
        ["Method and attack", "Precision", "Recall", "F1", "Honest named"],
        body,
        "A hospital is named in a round where its update is rejected or refused, or while it is "
        "suspended. Precision: of those named, the share of malicious ones; recall: of malicious "
        "ones, the share named; honest named: of honest ones. Methods that name nobody are left "
        f"out, and so is the precision of a seed in which nobody is named. {SEEDS_NOTE}",
    )


def confusion_sheet(rows: Sequence[Row]) -> Sheet:
    """Confusion matrices of two classes, cases of all seeds together."""
    two = [row for row in rows if len(row["confusion"]) == 2]
    body = []
    for name, label in methods_of(two, alone=True):
        for attack in distinct(two, "attack"):
            own = [r["confusion"] for r in two if (r["defence"], r["attack"]) == (name, attack)]
            if own:
                cells = [sum(c[i][j] for c in own) for i in (0, 1) for j in (0, 1)]
                body.append([f"{label}, {attack_label(attack).lower()}", *map(str, cells)])
    header = ["Method and attack", "True negative", "False positive", "False negative"]
    note = (
        "Test cases of all seeds together, without trigger; of rows with several labels, answers."
    )
    return Sheet(f"Confusion matrices{_seen(rows)}", [*header, "True positive"], body, note)


def _paper(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f}"


def _naming_f1(row: Mapping[str, Any]) -> float | None:
    precision, recall = row["detection_precision"], row["detection_recall"]
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _by_attack(
    rows: Sequence[Row], title: str, measure: str, note: str, sign: bool = False
) -> Sheet:
    """A line a method and a column an attack."""
    attacks = attacks_of(rows)
    body = []
    for name, label in methods_of(rows):
        found = [values(rows, measure, defence=name, attack=attack) for attack in attacks]
        if any(found):
            body.append([label, *(mean_text(each, sign) for each in found)])
    return Sheet(title, ["Method", *map(attack_label, attacks)], body, note)


def _of(rows: Sequence[Row], measure: str | Measure, defence: str, attack: str) -> str:
    return mean_text(values(rows, measure, defence=defence, attack=attack))


def _seen(rows: Sequence[Row]) -> str:
    """Which hospitals and seeds a table is of, for its title."""
    shares = sorted({row["malicious"] for row in rows if row["attack"] != NO_ATTACK})
    told = _seeds(rows)
    if len(shares) != 1:
        return told
    sizes = distinct(rows, "hospitals")
    return f", {malicious_words(shares[0], sizes[0] if len(sizes) == 1 else None)} malicious{told}"


def _seeds(rows: Sequence[Row]) -> str:
    """How many seeds a table is of, for its title."""
    seeds = len(distinct(rows, "seed"))
    return f"; {seeds} seed{'s' if seeds > 1 else ''}"
