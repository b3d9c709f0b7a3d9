"""Files of a run: written whole or not at all, the same bytes for the same values."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eval.jobs.starting import resume_job
from secure_fl.errors import InputError
from secure_fl.files import (
    append_line,
    canonical_json,
    read_json,
    read_lines,
    write_atomic,
    write_json,
)
from secure_fl.simulation.folder import (
    create_numbered,
    create_run,
    model_bytes,
    model_path,
    read_model,
    records_digest,
    writing_cell,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(rows=st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_lines_are_read_back_equal(
    rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    path.touch()
    for row in rows:
        append_line(path, row)
    assert read_lines(path) == rows
    assert records_digest(read_lines(path), []) == records_digest(rows, [])


@given(value=st.dictionaries(st.text(), JSON, max_size=6))
def test_canonical_json_does_not_depend_on_order(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(backwards)
    assert "\n" not in canonical_json(value)


def test_nan_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        append_line(tmp_path / "x.jsonl", {"loss": float("inf")})
    assert not (tmp_path / "x.json").exists()


def test_the_digest_leaves_out_times_alone() -> None:
    row = {"round": 1, "loss": 0.5, "seconds": {"train": 1.0}, "ledger_ms": 3.0}
    base = records_digest([row], [{"name": "update"}])
    assert records_digest([row | {"ledger_ms": 4.0, "seconds": {}}], [{"name": "update"}]) == base
    assert records_digest([row | {"loss": 0.6}], [{"name": "update"}]) != base
    assert records_digest([row], [{"name": "other"}]) != base
    assert records_digest([row], []) != base


def test_models_are_numpy_files_and_read_back_to_the_bit(tmp_path: Path) -> None:
    model = torch.randn(50, generator=torch.Generator().manual_seed(0))
    model[0], model[1] = float("inf"), float("nan")
    path = tmp_path / "m.npy"
    write_atomic(path, model_bytes(model))
    loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    assert loaded.tobytes() == model.numpy().tobytes()
    assert torch.equal(read_model(path)[2:], model[2:])
    assert model_path(tmp_path, 7).name == "round-007.npy"
    np.save(path, np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match=r"must hold float32 \(d,\)"):
        read_model(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot read"):
        read_model(path)


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_malformed_files_are_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"cannot read .*x\.json"):
        read_json(path)
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(InputError, match=r"x\.jsonl line 2 is not JSON"):
        read_lines(tmp_path / "x.jsonl")


def test_a_cell_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run)

    def interrupted() -> None:
        with writing_cell(run, "a--b") as folder:
            (folder / "rounds.jsonl").write_text("half")
            assert not (run / "cells" / "a--b").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((run / "cells").iterdir()) == []
    with writing_cell(run, "a--b") as folder:
        (folder / "cell.json").write_text("whole")
    assert (run / "cells" / "a--b" / "cell.json").read_text() == "whole"
    with pytest.raises(InputError, match="exists already"), writing_cell(run, "a--b"):
        pass
    with pytest.raises(InputError, match="exists already"):
        create_run(run)


def test_each_of_several_at_one_moment_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    made: list[Path] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        made.append(create_numbered(tmp_path / "runs" / "job-1"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {"job-1", *(f"job-1-{number}" for number in range(2, 9))}
    assert {folder.name for folder in made} == names
    assert all((folder / "cells").is_dir() for folder in made)


def test_a_folder_for_a_run_is_new(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("empty", "full", "link", "file"):
        with pytest.raises(InputError, match=rf"{name} exists already: .*\(it holds no run\)"):
            create_run(tmp_path / name)
    with pytest.raises(InputError, match="holds no run to resume: start one with --out"):
        resume_job(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot make run folder"):
        create_numbered(tmp_path / "file" / "job")
    (tmp_path / "a b" / "cells").mkdir(parents=True)
    (tmp_path / "a b" / "config.yaml").touch()
    with pytest.raises(InputError, match=r"or complete it with --resume '.*a b'"):
        create_run(tmp_path / "a b")
