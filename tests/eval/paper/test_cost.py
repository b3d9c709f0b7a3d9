"""Table 3: sums of phases, bytes and factors, by hand."""

from __future__ import annotations

import pytest

from eval.paper.cost import bytes_sent, cost_sheets, critical_path, together


def row(name: str, paper: str, train: float, nodes: float, sent: int) -> dict:
    shared = nodes > 0
    return {
        "defence": name,
        "label": name,
        "paper_method": paper,
        "attack": "none",
        "rounds_run": 2,
        "hospitals": 10,
        "validators": 5,
        "nodes": 3,
        "steps": {
            "train": train,
            "share": 1.0 if shared else 0.0,
            "mpc_online": nodes,
            "mpc_offline": 2 * nodes,
            "validate": 1.0,
            "ledger": 0.6 if shared else 0.0,
        },
        "traffic": {"bytes_online": 4000, "bytes_offline": 6000} if shared else {},
        "ledger_ms": 500.0 if shared else 0.0,
        "one_hospital": {"seconds": 0.25, "sent": sent, "received": 100},
    }


PLAIN, SHARED = (
    row("fedavg", "FedAvg", 2.0, 0.0, 100),
    row("paper", "Proposed Framework", 2.0, 1.0, 300),
)


def test_everything_counts_on_one_machine_and_what_is_waited_for_in_a_deployment() -> None:
    assert sum(together(PLAIN).values()) == pytest.approx((2 + 1) / 2)
    assert sum(together(SHARED).values()) == pytest.approx((2 + 1 + 1 + 2 + 1 + 0.6) / 2)
    path = critical_path(SHARED)
    # One hospital of ten shares, one validator of five judges, the dealer works ahead.
    expected = {"Training": 0.25, "Sharing": 0.05, "Nodes": 0.5, "Dealer": 0, "Validators": 0.1}
    assert {name: path[name] for name in expected} == pytest.approx(expected)
    assert path["Ledger"] == pytest.approx(0.3)


def test_bytes_of_all_parties() -> None:
    assert bytes_sent(PLAIN) == {"one": 200, "hospitals": 2000, "nodes": 0, "dealer": 0}
    assert bytes_sent(SHARED) == {"one": 400, "hospitals": 4000, "nodes": 6000, "dealer": 3000}


def test_factors_stand_beside_the_paper_s() -> None:
    machine, path, sent, finality = cost_sheets([PLAIN, SHARED])
    assert [line[-2:] for line in machine.body] == [["1.00", "1.00"], ["2.53", "1.15"]]
    assert [line[-2:] for line in path.body] == [["1.00", "1.00"], ["3.43", "1.15"]]
    assert [line[-3:] for line in sent.body] == [
        ["1.00", "1.00", "1.00"],
        ["2.00", "6.50", "1.13"],
    ]
    assert finality.body == [["paper", "300", "250", "320"]]
