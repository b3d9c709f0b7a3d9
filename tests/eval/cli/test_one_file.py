"""An attack, a data set or a model that ships is one file: nothing else names it."""

from __future__ import annotations

from pathlib import Path

import pytest

import attacks
from eval.cli import main as cli
from eval.jobs.plan import plan
from secure_fl import data, models
from secure_fl.data import sets
from secure_fl.settings.config import load_config, read_config

FILES = {
    "attacks": '''
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Lone(Attack):
    """Send the update times a factor."""
    factor: float = -1.0
    places: tuple[int, ...] = (1, 2)

    def craft(self, observed, own, view):
        return self.factor * own
''',
    "sets": '''
"""Two heaps of points."""
import numpy as np
from secure_fl.data import Dataset

def load(path=None):
    y = np.arange(400) % 2
    noise = np.random.default_rng(0).random((400, 3))
    x = (0.5 * y[:, None] + noise).astype(np.float32)
    return Dataset("lone", "tabular", x, y, np.arange(400), ("a", "b", "c"), ("no", "yes"))
''',
    "models": '''
from secure_fl.models.mlp import MLP
from secure_fl.models.model import model

@model
class Straight(MLP):
    """One layer."""
    def __init__(self, feature_shape, classes, scale=1):
        super().__init__(feature_shape, classes, hidden=())
''',
}


@pytest.fixture
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more file in each of three packages, as if it lay beside the others."""
    for package, name in ((attacks, "attacks"), (sets, "sets"), (models, "models")):
        folder = tmp_path / "shipped" / name
        folder.mkdir(parents=True)
        (folder / f"lone_{name}.py").write_text(FILES[name])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_shipped")
def test_a_new_file_alone_is_a_name_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "lone_attacks" in attacks.names()
    assert "lone_sets" in data.names()
    assert "lone_models" in models.names()
    named = ["data=lone_sets", "model=lone_models", "attack=lone_attacks"]
    config = load_config([*named, "experiment=table1"])
    assert config.attacks[0].params == {"factor": -1.0, "places": [1, 2]}
    assert (config.model.params, config.data.name) == ({}, "lone_sets")
    # A name brings nothing but itself: what the experiment says of the data stays.
    assert (config.data.hospitals, config.data.alpha) == (20, 0.3)
    small = ["data.hospitals=3", "rounds=1", "defence=fedavg", "malicious=0.34", "train.epochs=1"]
    run = tmp_path / "run"
    assert cli.main(["run", "--out", str(run), *named, *small]) == 0
    planned = {cell.name for cell in plan(read_config(run / "config.yaml"))}
    assert {path.name for path in (run / "cells").iterdir()} == planned
    assert len(planned) == 2
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("lone_attacks", "lone_sets", "lone_models"))
