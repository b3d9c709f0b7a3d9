"""Who takes part: hospitals drawn for a round, and those that drop out by schedule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from eval.audit.run import Outcome, audit_run
from eval.report.report import write_report
from secure_fl.errors import ConfigError
from secure_fl.files import read_lines
from secure_fl.settings.config import load_config
from secure_fl.settings.participation import ParticipationConfig
from secure_fl.simulation.run import RunConfig
from tests.support import tiny_job
from tests.support.audited import quick, write_rows


def test_each_round_draws_anew_and_evenly() -> None:
    drawn = [ParticipationConfig(sample=0.3).present(r, 20, 7) for r in range(1, 401)]
    assert all(len(seats) == len(set(seats)) == 6 and seats == sorted(seats) for seats in drawn)
    counts = Counter(seat for seats in drawn for seat in seats)
    # 400 draws at 0.3: mean 120, standard deviation 9.2; five of them either way.
    assert all(74 < counts[seat] < 166 for seat in range(20))
    assert drawn == [ParticipationConfig(sample=6).present(r, 20, 7) for r in range(1, 401)]
    assert drawn != [ParticipationConfig(sample=6).present(r, 20, 8) for r in range(1, 401)]
    assert ParticipationConfig(sample=0.01).drawn(20) == 1
    assert ParticipationConfig(sample=1).drawn(20) == 1
    assert ParticipationConfig(sample=1.0).present(1, 4, 0) == [0, 1, 2, 3]


def test_absences_hold_from_and_until_their_rounds() -> None:
    away = [{"hospital": 1, "start": 2, "until": 3}, {"hospital": 0, "start": 3}]
    config = ParticipationConfig(absences=away)
    present = [config.present(number, 3, 0) for number in range(1, 6)]
    assert present == [[0, 1, 2], [0, 2], [2], [1, 2], [1, 2]]


REFUSED = {
    "participation.sample=0": "sample must be null, a whole number from 1",
    "participation.sample=1.5": "sample must be null, .*got 1.5",
    "participation.sample=many": "sample must be null, .*got 'many'",
    "participation.sample=21": "sample must be at most data.hospitals, 20; got 21",
    "participation.absences=[{hospital: 20}]": "hospital must be at most 19 in this run; got 20",
    "participation.absences=[{start: 2}]": "every entry must be one with hospital",
    "participation.absences=[{hospital: 1, from: 2}]": "key must be one of hospital, start, until",
    "participation.absences=[{hospital: 1, start: 3, until: 2}]": "until must be .* from 3; got 2",
    "participation.absences=[3]": "absences must be a list of mappings with hospital",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_no_round_has_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[override]):
        load_config([override])


def test_a_rule_must_work_with_those_drawn(tmp_path: Path) -> None:
    few = ["participation.sample=2", "defences=[fedavg]", "attacks=[]"]
    with pytest.raises(ConfigError, match="cannot work with 2 hospitals"):
        tiny_job.run(tmp_path / "few", few)


def test_only_those_present_are_combined_and_an_audit_knows_them(tmp_path: Path) -> None:
    """On the ledger too: who is away keeps its reputation."""
    settings = [
        "participation.sample=3",
        "participation.absences=[{hospital: 0, start: 2}]",
        "defences=[paper]",
        "defence.backend=plain",
        "attacks=[]",
        "rounds=3",
        "defence.minimum_hospitals=2",
    ]
    folder = tiny_job.run(tmp_path / "run", settings)
    config = tiny_job.config(*settings)
    rows = read_lines(folder / "cells" / "paper--none" / "rounds.jsonl")
    before = None
    for row in rows[1:]:
        want = config.participation.present(row["round"], config.data.hospitals, config.seed)
        played = [i for i, flag in enumerate(row["accepted"]) if flag is not None]
        assert played == (want if len(want) >= 2 else [])
        assert row["round"] == 1 or 0 not in played
        away = set(range(config.data.hospitals)) - set(played)
        if before is not None:
            assert all(row["reputation"][i] == before[i] for i in away)
        before = row["reputation"]
    write_report(folder)
    assert audit_run(folder).outcome is Outcome.PASSED
    rows[2]["accepted"][0] = True
    write_rows(folder / "cells" / "paper--none" / "rounds.jsonl", rows)
    said = [str(found) for found in quick(folder).findings]
    assert any("has hospitals [0], whom the settings keep out" in each for each in said)


def test_hashes_differ_only_where_somebody_is_away() -> None:
    def sha256(*overrides: str) -> str:
        config = load_config(["experiment=quick", "defence=paper", *overrides])
        return RunConfig(config, config.defences[0], config.attacks[0], 0.3).sha256

    assert sha256("participation.sample=null") == sha256()
    assert (
        len({sha256(), sha256("participation.sample=5"), sha256("participation.sample=0.5")}) == 3
    )
