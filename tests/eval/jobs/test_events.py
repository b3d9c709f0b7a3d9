"""Event files: the figures of the records, read back by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest

import secure_fl
from eval.audit.run import audit_run
from eval.cli.main import main
from eval.jobs.events import RoundLog
from eval.jobs.sweep import sweep
from secure_fl.errors import ConfigError, InputError
from secure_fl.files import read_lines
from tests.support import tiny_federation, tiny_job

SMALL = ("data.rows=400", "rounds=2", "attacks=[]", "defences=[paper]")


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Numbers by name, each with its round."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a run and of its event files."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    place = tmp_path_factory.mktemp("job")
    folder = tiny_job.run(place / "run", [*SMALL, f"tensorboard={place / 'events'}"])
    return folder, place / "events"


def test_they_repeat_every_round(job: tuple[Path, Path]) -> None:
    folder, events = job
    rows = read_lines(folder / "cells" / "paper--none" / "rounds.jsonl")
    told = read(events / "run" / "paper--none")
    assert len(rows) == 3
    for key in ("accuracy", "loss", "test_accuracy"):
        assert told[key] == [(row["round"], pytest.approx(row[key])) for row in rows]
    played = rows[1:]
    assert told["seconds/train"] == [
        (row["round"], pytest.approx(row["seconds"]["train"])) for row in played
    ]
    assert told["hospitals/accepted"] == [(row["round"], sum(row["accepted"])) for row in played]
    for hospital in range(4):
        assert told[f"reputation/hospital {hospital}"] == [
            (row["round"], pytest.approx(row["reputation"][hospital])) for row in played
        ]


def test_no_record_knows_of_them(job: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = job
    assert audit_run(folder).findings == []
    without = tiny_job.run(tmp_path / "run", SMALL)
    first, second = (
        read_lines(each / "cells" / "paper--none" / "rounds.jsonl") for each in (folder, without)
    )
    assert first[0] == second[0]  # the hash of the settings among it
    assert [row["model_sha256"] for row in first] == [row["model_sha256"] for row in second]


def test_a_run_of_python_and_each_of_a_sweep_have_theirs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    for rounds in (2, 1):  # the second run takes the place of the first
        with RoundLog(tmp_path / "one") as log:
            result = secure_fl.run(tiny_federation.made(), rounds=rounds, on_round=log)
    assert read(tmp_path / "one")["test_accuracy"] == [
        (row["round"], pytest.approx(row["test_accuracy"])) for row in result.rows
    ]
    settings = ["data=digits", "data.rows=400", "data.hospitals=4", "rounds=1", "train.epochs=1"]
    sweep(
        [*settings, "defence=mean", "attacks=[]", f"tensorboard={tmp_path / 'all'}"], seeds=[0, 1]
    )
    folders = sorted((tmp_path / "all").iterdir())
    assert [path.name.rpartition("--")[0] for path in folders] == [
        f"mean--none--0--seed-{seed}" for seed in (0, 1)
    ]
    assert all(len(read(path)["hospitals/accepted"]) == 1 for path in folders)


def test_without_the_package_they_are_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("eval.jobs.events.find_spec", lambda name: None)
    line, folder = [*SMALL, "data.hospitals=4", "tensorboard=logs"], tmp_path / "none"
    for command in ("run", "sweep"):
        assert main([command, *line, "--out", str(folder)]) == 2
        said = capsys.readouterr().err
        assert "tensorboard=logs needs the package tensorboard: pip install tensorboard" in said
        assert not folder.exists()
    with pytest.raises(InputError, match="needs the package tensorboard"):
        RoundLog(tmp_path / "x")
    with pytest.raises(InputError, match="tensorboard must be null here"):
        secure_fl.run(line)
    with pytest.raises(ConfigError, match="tensorboard must be null or a folder; got ''"):
        tiny_job.config("tensorboard=''")
