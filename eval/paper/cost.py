"""Table 3: what a round costs, beside FedAvg, in two readings.

All parties on this machine: the whole of what was measured. The critical path of a deployment: what
one after the other has to wait for, each party on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.paper.rows import FEDAVG, Measure, Row, mean_text, methods_of, values
from eval.tables.paper import PAPER
from eval.tables.sheet import DASH, Sheet, megabytes

Read = Callable[[Mapping[str, Any]], dict[str, float]]

# Columns of both readings, with the phases of a round that each adds up.
PHASES: Mapping[str, tuple[str, ...]] = {
    "Training": ("train",),
    "Sharing": ("share",),
    "Nodes": ("mpc_online", "aggregate"),
    "Dealer": ("mpc_offline",),
    "Server": ("server",),
    "Validators": ("validate",),
    "Ledger": ("ledger",),
}
# Of a row, what the tables are made of: `table3.json`.
COLUMNS = (
    *("data", "defence", "label", "paper_method", "attack", "seed", "rounds_run", "hospitals"),
    *("validators", "nodes", "steps", "traffic", "ledger_ms", "one_hospital"),
)
# Beside a FedAvg of this method; what the paper's table calls its columns.
COMMUNICATION: Mapping[str, float] = {
    "FedAvg": 1.00,
    "+ Secure Aggregation": 1.10,
    "+ Robust Aggregation": 1.00,
    "Proposed Framework": 1.13,
}


def together(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a round on the clock by phase, all parties on this machine."""
    rounds, steps = row["rounds_run"], row["steps"]
    return {
        name: sum(steps.get(key, 0.0) for key in keys) / rounds for name, keys in PHASES.items()
    }


def critical_path(row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a round by phase where every party has a machine of its own.

    Hospitals train side by side, so that the one with most rows counts, measured alone; so do they
    share, and validators judge. The dealer works ahead of the round. The nodes and the ledger count
    whole: what signs and what executes is not told apart, so that the ledger's is an upper bound.
    """
    path = together(row)
    return path | {
        "Training": row["one_hospital"]["seconds"],
        "Sharing": path["Sharing"] / row["hospitals"],
        "Validators": path["Validators"] / row["validators"],
        "Dealer": 0.0,
    }


def bytes_sent(row: Mapping[str, Any]) -> dict[str, float]:
    """Bytes of a round: one hospital's both ways, all hospitals', the nodes' and the dealer's.

    The busiest node counts for every node. Signatures and the ledger's messages, which do not grow
    with the model, are left out.
    """
    rounds = row["rounds_run"]
    own = row["one_hospital"]["sent"] + row["one_hospital"]["received"]
    nodes = row["nodes"] * row["traffic"].get("bytes_online", 0) / rounds
    dealer = row["traffic"].get("bytes_offline", 0) / rounds
    hospitals = own * row["hospitals"]
    return {"one": own, "hospitals": hospitals, "nodes": nodes, "dealer": dealer}


def cost_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Computation in both readings, communication, and finality."""
    return [
        _seconds_sheet(
            rows,
            together,
            "Computation, all parties on this machine: seconds a round",
            "On the clock, with all hospitals, nodes, dealer and validators on the processors of "
            "one machine, and whatever else it does. Hospitals train as one batch.",
        ),
        _seconds_sheet(
            rows,
            critical_path,
            "Computation, critical path of a deployment: seconds a round",
            "What one has to wait for where every party has a machine of its own: the hospital "
            "with most rows, trained alone; one hospital's sharing; the nodes on this machine's "
            "loopback; one validator. The dealer works ahead. The network's delay is not in it.",
        ),
        _bytes_sheet(rows),
        _finality_sheet(rows),
    ]


def _seconds_sheet(rows: Sequence[Row], read: Read, title: str, note: str) -> Sheet:
    base = _mean(values(rows, lambda row: sum(read(row).values()), defence=FEDAVG))
    body = []
    for name, label in methods_of(rows):
        line = [label]
        line += [_seconds(values(rows, _one_of(read, phase), defence=name)) for phase in PHASES]
        totals = values(rows, lambda row: sum(read(row).values()), defence=name)
        line.append(mean_text(totals, scale=1, digits=2))
        line += [_times(_mean(totals), base), _paper(rows, name, "time")]
        body.append(line)
    header = ["Method", *PHASES, "Round", "× FedAvg", "paper"]
    return Sheet(title, header, body, note)


def _bytes_sheet(rows: Sequence[Row]) -> Sheet:
    def total(row: Mapping[str, Any]) -> float:
        sent = bytes_sent(row)
        return sent["hospitals"] + sent["nodes"] + sent["dealer"]

    def one(row: Mapping[str, Any]) -> float:
        return bytes_sent(row)["one"]

    bases = [_mean(values(rows, measure, defence=FEDAVG)) for measure in (one, total)]
    body = []
    for name, label in methods_of(rows):
        line = [label]
        for key in ("one", "hospitals", "nodes", "dealer"):
            found = values(rows, _one_of(bytes_sent, key), defence=name)
            line.append(megabytes(sum(found) / len(found)) if any(found) else DASH)
        for measure, base in zip((one, total), bases, strict=True):
            line.append(_times(_mean(values(rows, measure, defence=name)), base))
        line.append(_communication(rows, name))
        body.append(line)
    header = ["Method", "One hospital", "All hospitals", "Nodes", "Dealer"]
    return Sheet(
        "Communication: megabytes a round",
        [*header, "× FedAvg, one hospital", "× FedAvg, all parties", "paper"],
        body,
        "A hospital sends its update, or a share of it to each node, and receives the model. The "
        "busiest node counts for every node. Signatures and the ledger's messages are left out.",
    )


def _finality_sheet(rows: Sequence[Row]) -> Sheet:
    body = []
    for name, label in methods_of(rows):
        spent = values(rows, lambda row: row["ledger_ms"] / row["rounds_run"], defence=name)
        if any(spent):
            clock = values(rows, lambda row: 1000 * together(row)["Ledger"], defence=name)
            told = [mean_text(each, scale=1, digits=0) for each in (clock, spent)]
            body.append([label, *told, _paper(rows, name, "ledger_ms", 0)])
    return Sheet(
        "Finality of a round: milliseconds",
        ["Method", "On the clock", "Processor time", "paper"],
        body,
        "From the opening of a round to its finalisation, without what lies between: signatures of "
        "all hospitals, nodes and validators, and the execution of their messages by an EVM in "
        "process. A network of validators adds the delay of its messages, which is not measured.",
    )


def _one_of(read: Read, key: str) -> Measure:
    return lambda row: read(row)[key]


def _mean(found: Sequence[float]) -> float | None:
    return sum(found) / len(found) if found else None


def _seconds(found: Sequence[float]) -> str:
    mean = _mean(found)
    return DASH if not mean else f"{mean:.2f}" if mean >= 0.005 else "<0.01"


def _times(value: float | None, base: float | None) -> str:
    return DASH if value is None or not base else f"{value / base:.2f}"


def _counterpart(rows: Sequence[Row], name: str) -> str:
    return str(next(row["paper_method"] for row in rows if row["defence"] == name))


def _paper(rows: Sequence[Row], name: str, key: str, digits: int = 2) -> str:
    told = PAPER.get(_counterpart(rows, name), {}).get(key)
    return DASH if told is None else f"{told:.{digits}f}"


def _communication(rows: Sequence[Row], name: str) -> str:
    told = COMMUNICATION.get(_counterpart(rows, name))
    return DASH if told is None else f"{told:.2f}"
