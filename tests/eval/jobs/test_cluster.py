"""A sweep on a Dask cluster of two workers, and what is refused before anything runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.cli.main import main
from eval.jobs.parallel import Workers, side_by_side
from eval.jobs.sweep import sweep
from secure_fl.errors import InputError, NodeFailure
from tests.eval.jobs.test_killed import timeless
from tests.support import tiny_federation

SETTINGS = ["data=digits", "data.rows=400", "data.hospitals=4", "rounds=1", "defence=mean"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a scheduler with two workers of one thread each, on loopback."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    made = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with made:
        yield made.scheduler_address


@pytest.mark.nightly
def test_two_workers_give_the_same(cluster: str, tmp_path: Path) -> None:
    federation = tiny_federation.made()
    folder = tmp_path / "sweep"
    told: list[int] = []
    found = sweep(
        federation,
        **tiny_federation.SWEEP,
        folder=folder,
        parallel="dask",
        cluster=cluster,
        tell=lambda done, cells, rows: told.append(done),
    )
    assert timeless(found) == timeless(sweep(federation, **tiny_federation.SWEEP))
    assert told == list(range(1, 9))
    assert len(list(folder.glob("*.json"))) == 1 + 8


def _die_of(number: int) -> int:
    if number == 1:
        os._exit(3)
    return number


@pytest.mark.nightly
def test_work_that_takes_its_workers_down_is_an_error(cluster: str) -> None:
    with pytest.raises(NodeFailure, match="was killed, perhaps for lack of memory on the cluster"):
        list(side_by_side(_die_of, [0, 1, 2], Workers(2, "dask", cluster)))


_grown: list[bytes] = []


def _grow(number: int) -> int:
    """Keep more than loky lets a worker keep, for as long as it takes loky to look."""
    _grown.append(bytes([1]) * 400_000_000)
    time.sleep(1.2)
    return number


@pytest.mark.nightly
def test_a_worker_that_has_grown_is_replaced_without_a_word(
    recwarn: pytest.WarningsRecorder,
) -> None:
    found = sorted(side_by_side(_grow, list(range(6)), Workers(2)))
    assert found == [(number, number) for number in range(6)]
    assert [str(each.message) for each in recwarn if "worker" in str(each.message)] == []


@pytest.mark.nightly
def test_workers_with_several_threads_are_refused() -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as made,
        distributed.Client(made),
        pytest.raises(InputError, match="cluster must be of workers with one thread each"),
    ):
        list(side_by_side(_die_of, [0], Workers(2, "dask")))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (["--parallel", "spark"], "parallel must be one of loky, dask, ray; got 'spark'"),
        (["--parallel", "ray"], "parallel=ray needs the package ray: pip install ray"),
        (["--cluster", "tcp://h:1"], "cluster must be left out with parallel=loky; got 'tcp"),
        (["--jobs", "257"], "jobs must be from 1 to 256; got 257"),
    ],
)
@pytest.mark.parametrize("command", [["sweep"], ["matrix", "--rules", "mean"]])
def test_refusals(
    command: list[str],
    line: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eval.jobs.parallel.find_spec", lambda name: None if name == "ray" else 1)
    folder = tmp_path / "none"
    name, *options = command
    assert main([name, *SETTINGS, *options, *line, "--out", str(folder)]) == 2
    assert reason in capsys.readouterr().err
    assert not folder.exists()
