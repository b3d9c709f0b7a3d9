"""The table that a sweep prints: a mean for every figure that there is."""

from __future__ import annotations

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
    assert head.endswith("attack success over base  naming precision     naming recall")
    assert krum.split()[4:] == [
        *("50.0", "[50.0,", "50.0]", "20.0", "[20.0,", "20.0]"),
        *("50.0", "[50.0,", "50.0]", "25.0", "[25.0,", "25.0]"),
    ]
    assert mean.split()[-2:] == ["-", "-"]
