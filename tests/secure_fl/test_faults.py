"""Settings of injected faults: what is refused at the door, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secure_fl.errors import ConfigError
from secure_fl.faults import AT_FAULT, HOSPITAL_KINDS, NODE_KINDS, Fault, build_faults
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.simulation.parties import backend_options, minimum_hospitals
from secure_fl.simulation.secret import RunSecret
from tests.support import tiny_job

SHARED = ("defences=[paper]", "defence.backend=mpc")
GOOD = {"round": 2, "hospital": 3, "node": 1, "kind": "denial"}


def test_every_kind_says_who_is_found_at_fault() -> None:
    assert set(AT_FAULT) == {*HOSPITAL_KINDS, *NODE_KINDS}
    for kind, guilty in AT_FAULT.items():
        assert guilty in ("", "hospital" if kind in HOSPITAL_KINDS else "node")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("denial", "faults must be a list of mappings with round, hospital, kind, node; got den"),
        ({**GOOD, "kind": "denail"}, "faults: kind must be one of wrong_share, .* got 'denail'"),
        ({**GOOD, "nod": 1}, "faults: key must be one of round, hospital, kind, node; got 'nod'"),
        ({"round": 2, "kind": "denial"}, "faults: every entry must be one with hospital"),
        ({**GOOD, "round": 0}, "faults: round must be a number from 1; got 0"),
        ({**GOOD, "round": True}, "faults: round must be a number from 1; got True"),
        ({**GOOD, "hospital": -1}, "faults: hospital must be a number from 0; got -1"),
        ({**GOOD, "node": "1"}, "faults: node must be a number from 0; got '1'"),
    ],
)
def test_what_is_no_fault_is_refused(entry: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build_faults([entry])


def test_a_share_has_one_fault() -> None:
    twice = [GOOD, {**GOOD, "kind": "wrong_share"}]
    with pytest.raises(ConfigError, match="round 2, hospital 3, node 1 has 2"):
        build_faults(twice)
    assert len(build_faults([GOOD, {**GOOD, "node": 0}, {**GOOD, "round": 1}])) == 3
    assert build_faults([{"round": 1, "hospital": 2, "kind": "denial"}]) == [
        Fault(1, 2, "denial", 0)
    ]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["faults=[{round: 3, hospital: 0, kind: denial}]"], "round must be at most 2 in this"),
        (["faults=[{round: 1, hospital: 4, kind: denial}]"], "hospital must be at most 3 in th"),
        (["faults=[{round: 1, hospital: 0, kind: denial, node: 2}]"], "node must be at most 1"),
        (
            ["faults=[{round: 1, hospital: 0, kind: denial}]", "defence.backend=fixed"],
            r"defence 'paper': backend and ledger must be mpc and true with faults; got \('fixed'",
        ),
        (
            ["faults=[{round: 1, hospital: 0, kind: denial}]", "defences=[secure_aggregation]"],
            r"defence 'secure_aggregation': backend and ledger must be .* got \('mpc', False\)",
        ),
        (["defence.minimum_hospitals=0"], "minimum_hospitals must be null or at least 1; got 0"),
        (["defence.minimum_hospitals=5"], "minimum_hospitals must be at most data.hospitals, 4"),
        (["defence.colluders=-1"], "colluders must be null or at least 0; got -1"),
        (["defence.colluders=4"], "colluders must be below data.hospitals, 4; got 4"),
    ],
)
def test_settings_that_no_run_could_carry_out_are_refused(
    overrides: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        tiny_job.config(*SHARED, *overrides)


def test_faults_are_off_by_default_and_survive_the_file(tmp_path: Path) -> None:
    assert load_config().faults == []
    config = tiny_job.config(*SHARED, "faults=[{round: 2, hospital: 3, kind: wrong_share}]")
    assert config.faults == [Fault(2, 3, "wrong_share")]
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def test_what_nodes_are_handed() -> None:
    config = tiny_job.config(*SHARED)
    options = backend_options(config.defences[0], config, RunSecret(config))
    assert len({signer.address for signer in options["signers"]}) == 2
    assert options["minimum_hospitals"] == 3
    other = tiny_job.config(*SHARED, "seed=1")
    others = backend_options(other.defences[0], other, RunSecret(other))
    assert others["signers"] != options["signers"]
    clear = tiny_job.config()
    given = backend_options(clear.defences[0], clear, RunSecret(clear), malicious=2)
    assert given == {"minimum_hospitals": 4}
    silent = tiny_job.config("defences=[secure_aggregation]", "defence.backend=mpc")
    assert backend_options(silent.defences[0], silent, RunSecret(silent))["signers"] == ()
    both = tiny_job.config("defences=[secure_aggregation, paper]", "defence.backend=mpc")
    handed = [backend_options(each, both, RunSecret(both))["signers"] for each in both.defences]
    assert [len(keys) for keys in handed] == [0, 2]


@pytest.mark.parametrize(
    ("hospitals", "given", "expected"), [(4, None, 3), (3, None, 3), (2, None, 2), (4, 1, 1)]
)
def test_nodes_of_a_run_combine_three_hospitals_at_least(
    hospitals: int, given: int | None, expected: int
) -> None:
    least = [] if given is None else [f"defence.minimum_hospitals={given}"]
    config = tiny_job.config(*SHARED, f"data.hospitals={hospitals}", "malicious=0", *least)
    assert minimum_hospitals(config.defences[0], config) == expected


@pytest.mark.parametrize(
    ("settings", "malicious", "expected"),
    [
        ([], 0, 3),
        ([], 1, 3),
        ([], 6, 8),
        ([], 19, 20),
        (["defence.colluders=4"], 6, 6),
        (["defence.colluders=0"], 6, 3),
        (["defence.minimum_hospitals=1", "defence.colluders=0"], 6, 1),
        (["defence.minimum_hospitals=1"], 6, 8),
        (["defence.minimum_hospitals=10"], 6, 10),
    ],
)
def test_two_others_remain_beside_those_who_may_collude(
    settings: list[str], malicious: int, expected: int
) -> None:
    config = tiny_job.config(*SHARED, "data.hospitals=20", "malicious=0", *settings)
    assert minimum_hospitals(config.defences[0], config, malicious) == expected
