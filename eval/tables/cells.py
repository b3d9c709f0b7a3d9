"""Every cell with all its measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.metrics.detection import KEYS
from eval.results.records import Row
from eval.results.style import NO_ATTACK, attack_label, defence_label, malicious_words
from eval.tables.averages import mean, subtract
from eval.tables.detection import DETECTION_NOTE, NAMED
from eval.tables.gain import GAINED, KEPT, gain_note, interval
from eval.tables.sheet import DASH, Sheet, decimals, percent, points


def _malicious(row: Row) -> str:
    """A row's share of malicious hospitals: "30%", "1 of 6"."""
    return malicious_words(row["malicious_fraction"], row.get("hospitals")).replace(" %", "%")


def cells_sheet(rows: Sequence[Row], missing: Iterable[tuple[str, str, str]] = ()) -> Sheet:
    """Every cell with all its measures; D_r is clean accuracy less accuracy under attack.

    Args:
        rows: of the cells.
        missing: method, attack and share of cells that are not there.
    """
    body = []
    for row in rows:
        attacked = row["attack"] != NO_ATTACK
        clean = mean(rows, "accuracy", str(row["defence"]), NO_ATTACK)
        drop = subtract(clean, row["accuracy"]) if attacked else None
        body.append(
            [
                defence_label(row),
                attack_label(str(row["attack"])),
                _malicious(row) if attacked else DASH,
                *(percent(row.get(key)) for key in ("accuracy", "precision", "recall", "f1")),
                decimals(row.get("auc")),
                points(drop),
                percent(row.get("attack_success_raw")),
                percent(row.get("attack_success_base")),
                points(row.get("attack_success_excess")),
                percent(row.get(KEPT)),
                interval(row),
                *(percent(row.get(key)) for key in KEYS),
                str(row.get("rounds_run") or DASH),
                DASH if row.get("seconds") is None else f"{row['seconds']:.1f}",
            ]
        )
    header = ["Method", "Attack", "Malicious", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    header += ["D_r", "Success", "Clean base", "Excess", *GAINED, *NAMED, "Rounds", "Seconds"]
    for method, attack, share in missing:
        body.append([method, attack, share or DASH, *["missing"] * (len(header) - 3)])
    degraded = "D_r: clean accuracy less accuracy under attack."
    notes = [degraded, gain_note(rows), DETECTION_NOTE]
    return Sheet("All cells", header, body, " ".join(note for note in notes if note))
