"""Sweeps: every cell once, the same in one process or several, resumed, and their intervals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from scipy import stats

import secure_fl
from attacks.sign_flip import SignFlip
from eval.jobs import single as module
from eval.jobs.sweep import Sweep, sweep
from eval.results.intervals import interval
from secure_fl.errors import ConfigError, InputError, NodeFailure
from secure_fl.federation import Federation
from tests.support import tiny_federation
from tests.support.tiny_federation import rows

FAST: dict[str, Any] = {"rounds": 1, "train": {"epochs": 1, "lr": 0.02}, "malicious": [0.25, 0.5]}
ASKED: dict[str, Any] = {"attacks": ["label_flip", SignFlip(3.0)], "defences": ["fedavg", "median"]}


@pytest.fixture(scope="module")
def federation() -> Federation:
    return tiny_federation.made()


def timeless(found: Sweep) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found.rows]


@pytest.fixture(scope="module")
def whole(federation: Federation) -> Sweep:
    return sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2])


def test_a_sweep_has_every_cell_once(whole: Sweep, federation: Federation) -> None:
    frame = whole.frame
    assert len(frame) == 3 * 2 * (1 + 2 * 2)
    assert not frame.duplicated(["defence", "attack", "malicious", "seed"]).any()
    clean = frame[frame["attack"] == "none"]
    assert clean["attack_success_raw"].isna().all()
    attacked = frame[frame["attack"] != "none"]
    gap = attacked["attack_success_raw"] - attacked["attack_success_base"]
    assert np.allclose(attacked["attack_success_excess"], gap)
    alone = secure_fl.run(
        federation, attack=SignFlip(3.0), defence="median", seed=1, **(FAST | {"malicious": 0.5})
    )
    here = frame[(frame["attack"] == "sign_flip") & (frame["defence"] == "median")]
    here = here[(here["seed"] == 1) & (here["malicious"] == 0.5)]
    assert here["model_sha256"].tolist() == [alone.closing["model_sha256"]]


OWN = """
from dataclasses import dataclass
import torch
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Zeros(Attack):
    \"\"\"Send zeros.\"\"\"
    def craft(self, honest, own, view):
        return torch.zeros_like(own)
"""


def test_an_attack_in_the_current_directory_is_found_in_every_process(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zeros_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    found = sweep(federation, ["zeros_of_mine:Zeros"], seeds=[0, 1], jobs=2, **FAST)
    assert set(found.frame["attack"]) == {"none", "Zeros"}


def test_a_sweep_goes_on_where_it_was_cut_off(
    whole: Sweep, federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, played = tmp_path / "sweep", []
    measure = module.Planned.measure

    def cut_off(self: Any, *given: Any) -> Any:
        if len(played) == 7:
            raise KeyboardInterrupt
        played.append(self)
        return measure(self, *given)

    monkeypatch.setattr(module.Planned, "measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2], folder=folder)
    assert len([path for path in folder.glob("*.json") if path.name != "sweep.json"]) == 7
    monkeypatch.setattr(module.Planned, "measure", measure)
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    found = sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2], folder=folder)
    assert timeless(found) == timeless(whole)
    assert all((folder / name).read_bytes() == content for name, content in before.items())
    other = Federation.from_arrays(
        [rows(50, i) for i in range(4)], rows(40, 10), [rows(30, 20)], rows(90, 30)
    )
    with pytest.raises(InputError, match=r"sweep\.json must be of a sweep on these data"):
        sweep(other, **FAST, folder=folder)
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").touch()
    with pytest.raises(InputError, match="folder must be new or a sweep's"):
        sweep(federation, **FAST, folder=tmp_path / "file")
    cell = next(path for path in folder.glob("*.json") if path.name != "sweep.json")
    held = cell.read_text()
    cell.write_text(json.dumps({"measured": json.loads(held)["measured"] | {"hospitals": "many"}}))
    with pytest.raises(InputError, match=f"{cell.name}, hospitals must be a figure; got str"):
        sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2], folder=folder)
    cell.write_text(json.dumps({"measured": [held]}))
    with pytest.raises(InputError, match=f"{cell.name} must hold 'measured', an object; got list"):
        sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2], folder=folder)
    cell.write_text(held)
    elsewhere = cell.rename(tmp_path / "elsewhere.json")
    cell.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{cell.name} is a symbolic link"):
        sweep(federation, **ASKED, **FAST, seeds=[0, 1, 2], folder=folder)


def test_a_table_takes_a_files_place_and_is_not_written_through_a_link(
    whole: Sweep, tmp_path: Path
) -> None:
    elsewhere = [tmp_path / name for name in ("thesis.txt", "letter.txt")]
    for file in elsewhere:
        file.write_text("mine")
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "runs.csv").hardlink_to(elsewhere[0])
    (folder / "runs.parquet").symlink_to(elsewhere[1])
    written = whole.save(folder)
    assert all(path.is_file() and not path.is_symlink() for path in written)
    assert pandas.read_csv(folder / "runs.csv").shape == whole.frame.shape
    assert pandas.read_parquet(folder / "runs.parquet").shape == whole.frame.shape
    assert [file.read_text() for file in elsewhere] == ["mine", "mine"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_cell_is_told_when_it_is_done(
    whole: Sweep, federation: Federation, tmp_path: Path, jobs: int
) -> None:
    """The cells of one group also run side by side, against one clean run, kept or not."""
    told: list[tuple[int, int, list[str]]] = []

    def tell(done: int, cells: int, rows: list[dict[str, Any]]) -> None:
        told.append((done, cells, [row["attack"] for row in rows]))

    given: dict[str, Any] = {**FAST, "seeds": [0], "jobs": jobs, "tell": tell}
    wanted = [row for row in timeless(whole) if (row["defence"], row["seed"]) == ("median", 0)]
    for folder in (None, tmp_path / "sweep"):
        told.clear()
        found = sweep(federation, ASKED["attacks"], ["median"], folder=folder, **given)
        assert timeless(found) == wanted
        assert [done for done, _, _ in told] == [1, 2, 3, 4, 5]
        assert {cells for _, cells, _ in told} == {5}
        assert told[0][2] == ["none"]
        assert all(len(names) == 1 for _, _, names in told)
    # What is held comes at once, and then what is missing.
    gone = [path for path in sorted((tmp_path / "sweep").glob("*.json")) if _attacked(path)][:2]
    for path in gone:
        path.unlink()
    told.clear()
    found = sweep(federation, ASKED["attacks"], ["median"], folder=tmp_path / "sweep", **given)
    assert timeless(found) == wanted
    assert [(done, len(names)) for done, _, names in told] == [(3, 3), (4, 1), (5, 1)]


def _attacked(path: Path) -> bool:
    cell = json.loads(path.read_text()).get("cell")
    return cell is not None and cell["attack"] != "none"


def test_runs_that_failed_are_tried_again(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean run that succeeds at last is what the attacked ones are measured against."""
    folder, played = tmp_path / "sweep", []
    measure = module.Planned.measure

    def failing(self: Any, federation: Federation, clean: Any, journal: Any) -> Any:
        played.append(self.config.attack.name)
        if self.config.clean:
            raise NodeFailure("node 1 stopped")
        return measure(self, federation, clean, journal)

    def go_on(attacks: list[str]) -> list[dict[str, Any]]:
        given: dict[str, Any] = {**FAST, "malicious": 0.25, "lenient": True, "folder": folder}
        return sweep(federation, attacks, ["median"], seeds=[0], **given).rows

    monkeypatch.setattr(module.Planned, "measure", failing)
    for _ in range(2):
        clean, attacked = go_on(["sign_flip"])
        assert clean["refused"] == "node 1 stopped"
        assert attacked.get("attack_success_excess") is None
    assert played == ["none", "sign_flip", "none"]  # what succeeded is kept
    monkeypatch.setattr(module.Planned, "measure", measure)
    clean, attacked = go_on(["sign_flip"])
    assert "refused" not in clean
    assert attacked["attack_success_excess"] is not None


def test_intervals_are_students_and_the_bootstraps(whole: Sweep) -> None:
    table = whole.intervals("accuracy", confidence=0.9)
    assert len(table) == 2 * (1 + 2 * 2)
    line = table[(table["defence"] == "median") & (table["attack"] == "none")].iloc[0]
    frame = whole.frame
    values = frame[(frame["defence"] == "median") & (frame["attack"] == "none")]["accuracy"]
    low, high = stats.t.interval(0.9, 2, values.mean(), stats.sem(values))
    assert line[["seeds", "mean", "low", "high"]].tolist() == pytest.approx(
        [3, values.mean(), low, high]
    )
    x = np.random.default_rng(1).normal(size=25).tolist()
    wanted = stats.bootstrap((x,), np.mean, method="percentile", rng=np.random.default_rng(2))
    found = interval(x, 0.95, "bootstrap")
    assert found[1:] == pytest.approx(tuple(wanted.confidence_interval), abs=0.02)
    assert math.isnan(interval([1.0])[1])
    assert whole.intervals("attack_success_excess", method="bootstrap")["seeds"].min() == 0
    for call, reason in (
        (lambda: whole.intervals("accurcy"), "measure must be one of accuracy"),
        (lambda: whole.intervals(method="z"), "method must be one of t, bootstrap"),
        (lambda: whole.intervals(confidence=1.0), "confidence must be between 0 and 1"),
    ):
        with pytest.raises(InputError, match=reason):
            call()


def test_attacks_of_one_name_are_told_apart(federation: Federation) -> None:
    found = sweep(federation, [SignFlip(1.0), SignFlip(3.0)], seeds=[0], **FAST)
    assert set(found.frame["attack"]) == {
        "none",
        "sign_flip(strength=1.0)",
        "sign_flip(strength=3.0)",
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"defences": []}, r"defences must be a list of at least one; got \[\]"),
        ({"seeds": []}, r"seeds must be a list of at least one; got \[\]"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"malicious": []}, "malicious must be a fraction or a list"),
        ({"malicious": 0.0, "attacks": ["sign_flip"]}, "malicious must be above 0 with attacks"),
        ({"attacks": "sign_flip"}, "attacks must be a list"),
        ({"attacks": ["sign_flip", "sign_flip"]}, "attacks must be a list without repetitions"),
        ({"defences": ["median", "median"]}, "defences must be a list without repeated names"),
        ({"attacks": ["sign_flop"]}, "did you mean sign_flip"),
        ({"jobs": 0}, "jobs must be from 1 to 256; got 0"),
    ],
)
def test_sweeps_that_cannot_be_are_refused(
    federation: Federation, given: dict[str, Any], reason: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=reason):
        sweep(federation, **(FAST | given))
