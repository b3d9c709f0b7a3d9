"""Detection against counting by hand."""

from __future__ import annotations

import pytest

from attacks import load, names
from eval.jobs.cell_row import to_name
from eval.metrics.detection import detection
from secure_fl.settings.config import load_config
from secure_fl.simulation.run import RunConfig

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
    assert detection(ROUNDS, []) == (None, None, 4 / 8)  # there is nobody to name


def test_nobody_named() -> None:
    rounds = [{"accepted": [True, True], "refused": {}, "suspended": []}]
    assert detection(rounds, [1]) == (None, 0.0, 0.0)
    assert detection(rounds, [1], judges=False) == (None, None, None)  # it names nobody ever
    refused = [{"accepted": [True, None], "refused": {"1": "NaN"}, "suspended": []}]
    assert detection(refused, [1], judges=False) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "guilty"),
    [
        (["attack=lying_validator"], False),
        (["attack=lying_validator", "attack.overstate=true"], True),
        (["attack=lying_validator", "attack.mixture=[{name: sign_flip, share: 0.5}]"], True),
        (["attack=root_poisoning"], False),
        (["attack=root_poisoning", "attack.params.collude=true"], True),
        (["attack=sign_flip"], True),
    ],
)
def test_hospitals_that_do_nothing_are_not_to_be_named(settings: list[str], guilty: bool) -> None:
    config = load_config([*settings, "defence=mean"])
    run = RunConfig(config, config.defences[0], config.attacks[0], 0.3)
    assert to_name(run, [1, 2]) == ([1, 2] if guilty else ())


def test_which_attacks_have_honest_hospitals() -> None:
    honest = {name for name in names() if not load(name).at_hospitals}
    assert honest == {"none", "cheating_node", "lying_validator", "root_poisoning"}
