"""`secure-fl bench simulation`: the same rounds, played in different ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from eval.cli.main import main


def run(*line: str) -> int:
    return main(
        ["bench", "simulation", "--hospitals", "3", "--epochs", "1", "--rounds", "2", *line]
    )


def test_the_loop_ends_its_round_where_the_simulation_does(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.bench.simulation_ways.flower_python", lambda: None)
    assert run("--json") == 0
    own, loop = json.loads(capsys.readouterr().out)
    assert (own["way"], own["times"], own["gap"]) == ("simulation", 1.0, 0.0)
    assert (loop["way"], loop["hospitals"], loop["threads"]) == ("loop", 3, 1)
    assert 0 < loop["gap"] < 1e-4  # a batch in another order moves parameters by some 1e-3
    assert loop["times"] == pytest.approx(loop["seconds"] / own["seconds"])


def test_an_interpreter_without_flower_is_told(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("FLOWER_PYTHON", str(bare))
    assert run() == 2
    said = capsys.readouterr().err
    assert f"FLOWER_PYTHON={bare} could not run flower_peer.py: ModuleNotFoundError" in said


@pytest.mark.parametrize("option", ["hospitals", "epochs", "rounds", "threads"])
def test_numbers_that_cannot_be(option: str, capsys: pytest.CaptureFixture) -> None:
    assert run(f"--{option}", "0") == 2
    assert f"--{option} must be from" in capsys.readouterr().err
