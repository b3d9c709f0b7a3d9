"""Detection against counting by hand."""

from __future__ import annotations

from eval.metrics.detection import detection

ROUNDS = [
    {"round": 0, "loss": 1.0},  # the initial model
    {"accepted": [True, False, False, True], "refused": {}, "suspended": []},
    {"accepted": [True, True, None, None], "refused": {"3": "range"}, "suspended": [2]},
]


def test_named_are_the_rejected_the_refused_and_the_suspended() -> None:
    # Named: 1 and 2 in the first round, 2 and 3 in the second.
    found = detection(ROUNDS, [2])
    assert found.precision == 2 / 4
    assert found.recall == 2 / 2
    assert found.honest_named == 2 / 6
    assert detection(ROUNDS, [0]) == (0.0, 0.0, 4 / 6)
    assert detection(ROUNDS, [0, 1, 2, 3]) == (1.0, 4 / 8, None)
    assert detection(ROUNDS, []) == (0.0, None, 4 / 8)


def test_nobody_named() -> None:
    rounds = [{"accepted": [True, True], "refused": {}, "suspended": []}]
    assert detection(rounds, [1]) == (None, 0.0, 0.0)
    assert detection(rounds, [1], judges=False) == (None, None, None)  # it names nobody ever
    refused = [{"accepted": [True, None], "refused": {"1": "NaN"}, "suspended": []}]
    assert detection(refused, [1], judges=False) == (1.0, 1.0, 0.0)
