"""The table that a sweep prints: a mean for every figure that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.cli.sweep import means
from eval.jobs.sweep import Sweep


def test_means_of_all_measures_with_their_intervals() -> None:
    rows = [
        {"defence": rule, "attack": "x", "malicious": 0.3, "seed": seed, "accuracy": 0.5}
        | {"attack_success_excess": 0.2, "detection_precision": named, "detection_recall": recall}
        for rule, named, recall in (("krum", 0.5, 0.25), ("mean", None, None))
        for seed in (0, 1)
    ]
    head, krum, mean = means(Sweep(rows)).splitlines()
    assert " ".join(head.split()).endswith(
        "attack success over base worst seed naming precision naming recall"
    )
    assert krum.split()[4:] == [
        *("50.0", "[50.0,", "50.0]", "20.0", "[20.0,", "20.0]", "20.0"),
        *("50.0", "[50.0,", "50.0]", "25.0", "[25.0,", "25.0]"),
    ]
    assert mean.split()[-2:] == ["-", "-"]


def test_the_worst_seed_and_the_gain_retained_where_there_is_one() -> None:
    rows = [
        {"defence": "krum", "attack": "x", "malicious": 0.3, "seed": seed, "accuracy": 0.5}
        | {"attack_success_excess": excess, "gain_retained": 0.9}
        for seed, excess in ((0, 0.1), (1, 0.3))
    ]
    head, krum = means(Sweep(rows)).splitlines()
    assert "gain retained" in head
    assert krum.split()[7:10] == ["90.0", "[90.0,", "90.0]"]
    assert krum.split()[-1] == "30.0"


def test_how_many_are_malicious_is_told_where_it_is_another_share_than_was_asked_for() -> None:
    rows = [
        {"defence": "krum", "attack": "x", "malicious": share, "seed": 0, "accuracy": 0.5}
        | {"hospitals": 6}
        for share in (0.3, 0.5)
    ]
    _, few, half = means(Sweep(rows)).splitlines()
    assert few.split()[2:5] == ["1", "of", "6"]
    assert half.split()[2] == "0.5"


def test_intervals_of_shares_do_not_leave_their_range() -> None:
    """Student's of two seeds would go from -3.7 to 4.7."""
    rows = [
        {"defence": "krum", "attack": "x", "malicious": 0.5, "seed": seed, "accuracy": value}
        | {"attack_success_excess": value, "gain_retained": value}
        for seed, value in enumerate((0.17, 0.83))
    ]
    found = Sweep(rows)
    ends = {
        key: found.intervals(key)[["low", "high"]].to_numpy()[0].tolist()
        for key in rows[0]
        if key in ("accuracy", "attack_success_excess", "gain_retained")
    }
    assert ends["accuracy"] == [0.0, 1.0]
    assert ends["attack_success_excess"] == [-1.0, 1.0]
    assert ends["gain_retained"] == pytest.approx([-3.693, 4.693], abs=1e-3)


def test_parquet_has_a_row_a_run_whatever_a_setting_is(tmp_path: Path) -> None:
    """A setting may be a number, a word or nothing; a run that failed has no figures."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    values: list[Any] = [0.5, "auto", None, True]
    rows = [{"defence": "krum", "seed": n, "x": x, "accuracy": 0.5} for n, x in enumerate(values)]
    rows.append({"defence": "krum", "seed": 4, "x": 1.0, "refused": "too few"})
    written = Sweep(rows).save(tmp_path)
    assert [path.name for path in written] == ["runs.csv", "runs.parquet"]
    told = parquet.read_table(written[1]).to_pylist()
    assert [row["x"] for row in told] == ["0.5", "auto", None, "True", "1.0"]
    assert [row["accuracy"] for row in told] == [0.5] * 4 + [None]
    assert [row["refused"] for row in told] == [None] * 4 + ["too few"]
    assert [row["seed"] for row in told] == list(range(5))
