"""`secure-fl bench mpc` on small sizes: its rows, its peers, its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.bench.mpc import sweep, table
from eval.cli.main import main
from eval.results.growth import exponent

KEYS = {
    "seconds_online",
    "seconds_offline",
    "rounds",
    "bytes_per_node_online",
    "bytes_dealer",
    "peak_mib_per_node",
    "max_abs_error",
}


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["bench", "mpc", "--json", "--repeat", "1", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_rows_hold_the_figures_and_equal_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(
        capsys, "--rule", "median", "algorithm2", "--hospitals", "5", "--dim", "200", "300"
    )
    assert [(row["method"], row["dim"]) for row in found] == [
        ("median, 18 bits", 200),
        ("median, 18 bits", 300),
        ("algorithm2, 18 bits", 200),
        ("algorithm2, 18 bits", 300),
    ]
    for row in found:
        assert row.keys() >= KEYS
        assert row["max_abs_error"] == 0
        assert row["seconds_online"] > 0
        assert row["bytes_dealer"] > 0
    # More of the same rule on more coordinates.
    assert found[1]["bytes_per_node_online"] > found[0]["bytes_per_node_online"]
    assert "median, 18 bits" in "".join(map(str, table(found).columns[0].cells))


def test_a_slow_link_shows_both_methods(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--hospitals", "4", "--dim", "64", "--latency-ms", "5", "--mbit", "100")
    radix, pairwise, chosen, overlapped = found
    assert radix["rounds"] > 3 * pairwise["rounds"]
    assert chosen["rounds"] == pairwise["rounds"]
    assert overlapped["bytes_per_node_online"] == chosen["bytes_per_node_online"]
    assert all(row["max_abs_error"] == 0 for row in found)


@pytest.mark.slow
def test_peers_are_right_too(capsys: pytest.CaptureFixture[str]) -> None:
    ours, gloo, tcp = rows(capsys, "--hospitals", "4", "--dim", "8", "--peers")
    for peer in (gloo, tcp):
        assert peer["max_abs_error"] < 1e-3
        assert peer["bytes_per_coordinate"] > 10 * ours["bytes_per_coordinate"] / 8
    # The same protocol, counted by CrypTen and by us, but for a barrier.
    assert gloo["bytes_per_coordinate"] == pytest.approx(tcp["bytes_per_coordinate"], rel=0.01)


@pytest.mark.parametrize(
    "arguments",
    [["--repeat", "0"], ["--bits", "16"], ["--dim", "0"], ["--rule", "nonesuch"], ["--nodes", "9"]],
)
def test_bad_sizes_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "mpc", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("secure-fl: ")


def test_sizes_are_varied_one_at_a_time() -> None:
    assert sweep([20, 5], [100, 10, 1]) == [(20, 100), (20, 10), (20, 1), (5, 100)]


def test_curves_and_their_slopes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.png"
    sizes = ["--hospitals", "3", "5", "--dim", "64", "256"]
    assert main(["bench", "mpc", "--repeat", "1", *sizes, "--figure", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "grows as d^" in capsys.readouterr().out
    made = [{"dim": d, "seconds_online": 3.0 * d**1.5} for d in (10, 100, 1000)]
    assert exponent(made, "dim") == pytest.approx(1.5)


def test_a_figure_needs_something_to_draw(tmp_path: Path) -> None:
    assert main(["bench", "mpc", "--figure", str(tmp_path / "one.png")]) == 2
    assert not list(tmp_path.iterdir())
