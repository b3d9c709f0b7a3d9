"""The ledger benchmark plays whole rounds and prints them in the form stated."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

import ledger
from eval.bench import ledger as bench_ledger
from secure_fl.errors import InputError
from tests.support.anvil import Anvil


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench_ledger.add_arguments(parser)
    return parser.parse_args(arguments)


def test_json_has_a_row_for_each_number_and_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_ledger.command(options("--hospitals", "2", "3", "--rounds", "1", "--json")) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["hospitals"], row["mode"]) for row in rows] == [
        (2, "each"),
        (2, "merkle"),
        (3, "each"),
        (3, "merkle"),
    ]
    assert all(row["cpu_ms_per_round"] > 0 for row in rows)


def test_table_has_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    bench_ledger.command(options("--hospitals", "2", "--rounds", "1", "--mode", "merkle"))
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "hospitals"
    assert line.split()[:2] == ["2", "merkle"]


@pytest.mark.parametrize("mode", bench_ledger.MODES)
def test_a_measured_round_is_a_whole_round(mode: str) -> None:
    """Every hospital commits and is judged; all but the tenth one gain, so every word changes."""
    client = ledger.open_chain(12, mode=mode, parameters=bench_ledger.PARAMETERS)
    bench_ledger.timed(client, 12, mode, rounds=2)
    assert client.connection.read("round") == 3
    assert client.committed() == list(range(12))
    growth, half = 0.1, 0.5
    gained = half + growth * (1 - half)
    gained += growth * (1 - gained)
    reputations = client.reputations()
    # Rejected in round 1: hospital 9; in round 2: 8; in round 3: 7.
    assert reputations[0] == pytest.approx(gained + growth * (1 - gained))
    assert reputations[7] == pytest.approx(gained * half)


def test_an_external_node_stands_beside(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    node = Anvil(tmp_path)
    node.start()
    try:
        wanted = ("--hospitals", "3", "--rounds", "1", "--json", "--rpc", node.url)
        bench_ledger.command(options(*wanted))
    finally:
        node.kill()
    rows = json.loads(capsys.readouterr().out)
    assert [row["mode"] for row in rows] == ["each", "each@node", "merkle", "merkle@node"]
    assert all(row["wall_ms_per_round"] > 0 for row in rows)


def test_the_default_curve_goes_from_ten_to_five_hundred() -> None:
    assert min(options().hospitals) == 10
    assert max(options().hospitals) == 500
    assert tuple(options().mode) == ("each", "merkle")


@pytest.mark.parametrize(
    "arguments", [("--hospitals", "0"), ("--hospitals", "1025"), ("--rounds", "0")]
)
def test_impossible_numbers_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=f"{arguments[0]} must be .*; got {arguments[1]}"):
        bench_ledger.command(options(*arguments))
