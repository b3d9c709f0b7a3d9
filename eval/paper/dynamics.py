"""Tables of what happens over rounds: shares of malicious hospitals, suspensions, drift."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from eval.metrics.drift import drift_alarms
from eval.paper.parts import late_onset
from eval.paper.rows import Row, attacks_of, mean_text, methods_of, values
from eval.paper.sheets import SEEDS_NOTE
from eval.results.style import NO_ATTACK, attack_label
from eval.tables.sheet import DASH, Sheet


def share_sheet(rows: Sequence[Row]) -> Sheet:
    """Attack success over the clean model by method, attack and share of malicious hospitals."""
    shares = sorted({row["malicious"] for row in rows if row["attack"] != NO_ATTACK})
    body = []
    for name, label in methods_of(rows):
        for attack in attacks_of(rows):
            found = [
                values(rows, "attack_success_excess", defence=name, attack=attack, malicious=share)
                for share in shares
            ]
            if any(found):
                told = [mean_text(each, sign=True) for each in found]
                body.append([f"{label}, {attack_label(attack).lower()}", *told])
    header = ["Method and attack", *(f"{100 * share:.0f} %" for share in shares)]
    note = f"Percentage points over the clean model, by share of malicious hospitals. {SEEDS_NOTE}"
    return Sheet("Attack success over the clean model, points", header, body, note)


def lowest_sheet(rows: Sequence[Row]) -> Sheet:
    """Accuracy of the first, the lowest later and the last round under attack."""
    body = []
    for name, label in methods_of(rows):
        for attack in attacks_of(rows):
            own = [r for r in rows if (r["defence"], r["attack"]) == (name, attack)]
            lines = [
                [float(v) for v in row["history"]["test_accuracy"] if v is not None] for row in own
            ]
            lines = [line for line in lines if line]
            if lines:
                ends = [mean_text([line[i] for line in lines]) for i in (0, len(lines[0]) // 2, -1)]
                drops = [max(line) - line[-1] for line in lines]
                told = [*ends, mean_text(drops, sign=True)]
                body.append([f"{label}, {attack_label(attack).lower()}", *told])
    header = ["Method and attack", "Round 1", "Halfway", "Last round", "Best less last"]
    note = f"Accuracy on the test rows without trigger, percent. {SEEDS_NOTE}"
    return Sheet("Accuracy over rounds under attack", header, body, note)


def suspension_sheet(rows: Sequence[Row]) -> Sheet:
    """Reputations at the end and rounds until suspension, of methods with a ledger."""
    body = []
    for name, label in methods_of(rows):
        for attack in (*attacks_of(rows), NO_ATTACK):
            own = [
                row
                for row in rows
                if (row["defence"], row["attack"]) == (name, attack) and row["reputation"]
            ]
            if not own:
                continue
            line = [f"{label}, {attack_label(attack).lower()}"]
            for bad in (True, False):
                last, rounds, seats = _standing(own, bad)
                told = mean_text([sum(last) / len(last)], scale=1, digits=2) if last else DASH
                share = f"{len(rounds)} of {seats}" if seats else DASH
                line += [told, share, f"{median(rounds):g}" if rounds else DASH]
            body.append(line)
    header = ["Method and attack"]
    for who in ("Malicious", "Honest"):
        header += [f"{who}: reputation", "suspended", "after rounds"]
    return Sheet(
        "Reputations and suspensions",
        header,
        body,
        "Means of the last round's reputations; hospitals suspended in some round, of all seeds "
        "together, and the median of the round in which they first were. A hospital that is never "
        "named keeps reputation 1.",
    )


def _standing(rows: Sequence[Row], bad: bool) -> tuple[list[float], list[int], int]:
    """Last reputations, rounds of first suspension, and number of malicious or honest seats."""
    last: list[float] = []
    rounds: list[int] = []
    for row in rows:
        members = set(row["malicious_seats"])
        seats = [i for i in range(len(row["suspended_in"])) if (i in members) == bad]
        last += [row["reputation"][-1][i] for i in seats]
        rounds += [row["suspended_in"][i] for i in seats if row["suspended_in"][i] is not None]
    return last, rounds, len(last)


def drift_sheet(rows: Sequence[Row]) -> Sheet:
    """How well alarms on the model's drift tell rounds under attack from those before."""
    body = []
    for name, label in methods_of(rows):
        clean = [r for r in rows if (r["defence"], r["attack"]) == (name, NO_ATTACK)]
        for attack in attacks_of(rows):
            own = [r for r in rows if (r["defence"], r["attack"]) == (name, attack)]
            if own:
                told = alarms_of(own, clean)
                body.append([f"{label}, {attack_label(attack).lower()}", *told])
    header = ["Method and attack", "Precision", "Recall", "F1", "Runs found", "After rounds"]
    return Sheet(
        "Alarms on drift, percent",
        [*header, "Alarms without attack"],
        body,
        "The attack begins after half of the rounds. An alarm: the model moves farther, relative "
        "to its length, than the median of the rounds before by six times their median "
        "deviation. Precision: of alarms, in attacked runs and those of the same seeds without "
        "attack, the share in rounds under attack; recall: of rounds under attack, the share "
        "with an alarm; runs found: with an alarm under attack, and the median of rounds until "
        "the first; alarms without attack: share of the rounds of clean runs.",
    )


def alarms_of(attacked: Sequence[Row], clean: Sequence[Row]) -> list[str]:
    """Precision, recall, F1, runs found, rounds until the first alarm, alarms in clean runs."""
    hits = false = under = quiet = 0
    delays = []
    for row in attacked:
        alarms, onset = _alarms(row), late_onset(row["rounds_wanted"])
        hit = [number for number in alarms if number >= onset]
        hits, false = hits + len(hit), false + len(alarms) - len(hit)
        under += max(0, len(row["history"]["drift"]) - onset + 1)
        delays += [hit[0] - onset + 1] if hit else []
    alone = sum(len(_alarms(row)) for row in clean)
    quiet = sum(len(row["history"]["drift"]) for row in clean)
    precision = hits / (hits + false + alone) if hits + false + alone else None
    recall = hits / under if under else None
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    shown = [DASH if each is None else f"{100 * each:.1f}" for each in (precision, recall, f1)]
    found = f"{len(delays)} of {len(attacked)}"
    wait = f"{median(delays):g}" if delays else DASH
    return [*shown, found, wait, f"{100 * alone / quiet:.1f}" if quiet else DASH]


def _alarms(row: Row) -> list[int]:
    """Rounds with an alarm, ascending."""
    drifts = [float(value) for value in row["history"]["drift"]]
    return [number for number, alarm in enumerate(drift_alarms(drifts), start=1) if alarm]
