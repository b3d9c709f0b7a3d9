"""`secure-fl run` with node processes and a ledger, from the command line to the audit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_fl.files import read_json, read_lines
from secure_fl.simulation.folder import TIMINGS
from tests.support import warm

COMMAND = "import sys; from eval.cli.main import main; sys.exit(main())"
SETTINGS = (
    "data.rows=1200",
    "data.hospitals=5",
    "data.validators=3",
    "ledger.quorum=2",
    "model.params.hidden=[4]",
    "train.epochs=1",
    "rounds=2",
    "malicious=0.2",
    "attacks=[sign_flip]",
    "defences=[paper]",
    "defence.backend=mpc",
    "faults=[{round: 2, kind: wrong_share, hospital: 3, node: 1}]",
)


def secure_fl(folder: Path, *line: str, status: int = 0) -> str:
    """What a command prints; it must end with the status."""
    done = warm.run(["-c", COMMAND, *line], folder, timeout=600)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # three programs, each of which imports everything
def test_two_runs_with_repeatable_secrets_have_the_same_heads(tmp_path: Path) -> None:
    settings = [*SETTINGS, "repeatable_secrets=true"]
    heads = []
    for name in ("one", "two"):
        printed = secure_fl(tmp_path, "run", "--quick", *settings, "--out", name)
        (head,) = set(re.findall(r"0x[0-9a-f]{64}", printed))
        heads.append(head)
    line = ["audit", "two", "--no-measure", "--head", heads[1]]
    assert "INCOMPLETE, 1 thing(s)" in secure_fl(tmp_path, *line, status=3)
    rows = [read_json(tmp_path / name / "summary.json")["rows"] for name in ("one", "two")]
    chains = [[row["chain_head"] for row in each] for each in rows]
    assert chains[0] == chains[1]
    assert len(set(chains[0])) == 2  # a clean cell and an attacked one
    # The job's chain holds the manifest, and so what the runs took: its heads differ.
    assert heads[0] != heads[1]
    for cell in ("paper--none", "paper--sign_flip"):
        played = [
            read_lines(tmp_path / name / "cells" / cell / "rounds.jsonl") for name in ("one", "two")
        ]
        timeless = [[{k: v for k, v in r.items() if k not in TIMINGS} for r in p] for p in played]
        assert timeless[0] == timeless[1]
        (dispute,) = played[0][2]["disputes"]
        assert (dispute["hospital"], dispute["at_fault"]) == (3, "hospital")
        assert played[0][1]["disputes"] == []
