"""Attacks in whole jobs: memory over rounds resumed and audited, the protocol broken."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eval.audit.run import audit_run
from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from eval.results.records import read_object
from secure_fl.errors import ConfigError
from secure_fl.files import read_lines
from secure_fl.settings.attackers import AttackConfig, ScheduleConfig
from secure_fl.settings.permitted import permit
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.run import RunConfig, corruptions
from tests.support import tiny_job

REMEMBERING = (
    "data.hospitals=6",
    "malicious=0.5",
    "rounds=4",
    "repeatable_secrets=true",
    "attacks=[{name: poisonedfl, members: each_round}, {name: neurotoxin, schedule: {start: 2},"
    " mixture: [{name: mimic, share: 0.4}]}]",
    "defences=[paper]",
)
BREAKING = (
    "data.hospitals=6",
    "rounds=1",
    "attacks=[equivocation, withheld_shares, malformed_shares, {name: cheating_node,"
    " params: {victims: [2], node: 1}}, ring_wraparound]",
    "defences=[{name: paper, rule: median, validation: none, reputation: false}]",
    "defence.backend=mpc",
)


ROOT = Path(__file__).parents[3]
# A job that kills itself, as nobody can catch, at the end of round 3 of a cell.
KILLED = f"""
import os, signal, sys
from pathlib import Path
from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from tests.support import tiny_job

class Killer(Silent):
    cell = ""
    def cell_started(self, name, rounds):
        self.cell = name
    def round_done(self, row):
        if self.cell == sys.argv[2] and row["round"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

settings = tiny_job.config(*{REMEMBERING!r})
folder = Path(sys.argv[1])
federation = starting.start_job(settings, folder, ["secure-fl", "run"])
grid.run_job(settings, federation, folder, Killer())
"""


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("job") / "run", REMEMBERING)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    summary = read_object(folder / "summary.json")
    assert summary["failed"] == []
    return {row["cell"]: row for row in summary["rows"]}


def test_after_kill_9_a_resumed_run_ends_as_it_would_have(
    remembering: Path, tmp_path: Path
) -> None:
    """A cell that was cut off starts anew: what an attack remembered follows from seed and data."""
    folder, cut = tmp_path / "run", "paper--poisonedfl"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), cut], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (folder / "cells").iterdir() if path.name[0] != "."] == [
        "paper--none"
    ]
    partial = [path for path in (folder / "cells").iterdir() if path.name[0] == "."]
    assert len(read_lines(partial[0] / "rounds.jsonl")) == 4
    config = starting.resume_job(folder)
    config.permit(permit(()))
    grid.run_job(config, prepare(config), folder, Silent())
    after = rows(folder)
    for name, row in rows(remembering).items():
        assert after[name]["chain_head"] == row["chain_head"]
        assert after[name]["final_model_sha256"] == row["final_model_sha256"]


def test_such_a_run_is_audited(remembering: Path) -> None:
    assert audit_run(remembering).findings == []
    found = rows(remembering)
    assert set(found) == {"paper--none", "paper--poisonedfl", "paper--neurotoxin_and_mimic"}
    assert len(found["paper--poisonedfl"]["malicious"]) > 3  # others in each round
    assert len(found["paper--neurotoxin_and_mimic"]["malicious"]) == 3


@pytest.mark.slow
def test_attacks_that_break_the_protocol_cost_the_attackers_their_round(tmp_path: Path) -> None:
    folder = tiny_job.run(tmp_path / "run", BREAKING)
    found = rows(folder)
    for name, at_fault in (
        ("equivocation", ["hospital"]),
        ("withheld_shares", []),  # nobody can tell: it sits the round out
        ("malformed_shares", []),
    ):
        cell = f"paper--{name}"
        row = read_lines(folder / "cells" / cell / "rounds.jsonl")[1]
        (seat,) = found[cell]["malicious"]
        assert row["accepted"] == [None if i == seat else True for i in range(6)], name
        assert row["unopened"] == [seat], name
        assert [ruling["at_fault"] for ruling in row["disputes"]] == at_fault, name

    denied = read_lines(folder / "cells" / "paper--cheating_node" / "rounds.jsonl")[1]
    assert denied["accepted"] == [True] * 6
    (ruling,) = denied["disputes"]
    assert (ruling["hospital"], ruling["node"], ruling["at_fault"]) == (2, 1, "node")
    wrapped = read_lines(folder / "cells" / "paper--ring_wraparound" / "rounds.jsonl")[1]
    assert wrapped["accepted"] == [True] * 6
    clear = [*BREAKING, "attacks=[ring_wraparound]", "defence.backend=fixed"]
    apart = tiny_job.run(tmp_path / "clear", clear) / "cells" / "paper--ring_wraparound"
    assert wrapped["update_sha256"] == read_lines(apart / "rounds.jsonl")[1]["update_sha256"]


@pytest.mark.parametrize(("victims", "node"), [([9], 0), ([0], 5)])
def test_a_node_or_victim_that_is_not_there_is_refused(victims: list[int], node: int) -> None:
    config = tiny_job.config(*BREAKING)
    attack = AttackConfig("cheating_node", {"victims": victims, "node": node})
    with pytest.raises(ConfigError, match="must be at most"):
        corruptions(RunConfig(config, config.defences[0], attack, 0.25))


def test_nodes_cheat_in_the_rounds_of_the_schedule() -> None:
    config = tiny_job.config(*BREAKING, "rounds=5")
    attack = AttackConfig("cheating_node", schedule=ScheduleConfig(start=2, every=2))
    run = RunConfig(config, config.defences[0], attack, 0.25)
    assert [(f.round, f.hospital, f.kind, f.node) for f in corruptions(run)] == [
        (2, 0, "denial", 0),
        (4, 0, "denial", 0),
    ]
    assert corruptions(RunConfig(config, config.defences[0], attack, 0.0)) == ()


def test_where_nobody_signs_such_an_attack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must have backend: mpc and ledger: true"):
        tiny_job.run(tmp_path / "run", ["attacks=[equivocation]", "defences=[fedavg]"])
