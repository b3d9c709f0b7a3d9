"""A long run that was cut off goes on from its rounds so far, and ends as if it never had been."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.memory import pack, unpack
from eval.jobs.evaluate import Judge
from eval.jobs.single import plan_run
from eval.jobs.sweep import sweep
from eval.jobs.watched import Timed, Watch, Watched
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.files import sha256
from secure_fl.simulation import round as rounds
from tests.support import tiny_federation
from tests.support.warm import Warm

# What a row tells of time.
TIMES = ("seconds", "steps", "ledger_ms")
LONG_SWEEP: dict[str, Any] = {
    **tiny_federation.SWEEP,
    "attacks": ["poisonedfl"],
    "defences": ["fedavg"],
    "seeds": [0],
    "rounds": 20,
}


class Cut(Exception):
    """Ends a run at the end of a round, as nothing in it expects."""


class CutWatch(Watch):
    def __call__(self, number: int, *rest: Any) -> Any:
        if number == 3:
            raise Cut
        return super().__call__(number, *rest)


class CutRun(Watched):
    def observer(self, judge: Judge) -> Watch:
        return CutWatch(judge)


@pytest.fixture(scope="module")
def federation() -> Federation:
    return tiny_federation.made()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that hospitals train."""
    calls: list[int] = []

    def counting(*args: Any) -> torch.Tensor:
        calls.append(len(calls))
        return train(*args)

    train = rounds.train
    monkeypatch.setattr(rounds, "train", counting)
    return calls


def planned(federation: Federation, seed: int = 0) -> Watched:
    """A rule with a ledger, whose reputations weigh, against an attack that remembers."""
    cell = plan_run(
        federation,
        attack="poisonedfl",
        defence="paper",
        backend="fixed",
        malicious=0.25,
        rounds=4,
        seed=seed,
        train={"epochs": 1, "lr": 0.02},
    )
    return Watched(cell.config)


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in TIMES}


def test_a_run_cut_off_goes_on_and_ends_with_the_same_bits(
    federation: Federation, trained: list[int], tmp_path: Path
) -> None:
    run, place = planned(federation), tmp_path / "rounds"
    whole, model = run.measure(federation, federation.initial)
    assert len(trained) == 4
    with pytest.raises(Cut):
        CutRun(run.config).measure(federation, federation.initial, place)
    assert len(trained) == 7
    row, again = run.measure(federation, federation.initial, place)
    assert len(trained) == 8  # the fourth round alone
    assert torch.equal(model, again)
    assert timeless(row) == timeless(whole)
    assert whole["reputation"] is not None


def test_damaged_rounds_and_those_of_another_run_are_played_again(
    federation: Federation, trained: list[int], tmp_path: Path
) -> None:
    choices = {"attack": "alie", "malicious": 0.25, "rounds": 3, "train": {"epochs": 1}}
    run, other = (plan_run(federation, seed=seed, **choices) for seed in (0, 1))
    _, model = run.measure(federation, None, tmp_path / "rounds")
    damaged = tmp_path / "rounds" / "00002.round"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    del trained[:]
    assert torch.equal(run.measure(federation, None, tmp_path / "rounds")[1], model)
    assert len(trained) == 1  # the next round still follows from it
    assert not torch.equal(federation.at(1).initial, federation.at(0).initial)
    _, expected = other.measure(federation, None)
    del trained[:]
    assert torch.equal(other.measure(federation, None, tmp_path / "rounds")[1], expected)
    assert len(trained) == 3


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_plain_file_is_played_again(
    kind: str, federation: Federation, trained: list[int], tmp_path: Path
) -> None:
    """A pipe that nobody writes to does not hold the run up."""
    run = planned(federation)
    _, model = run.measure(federation, None, tmp_path / "rounds")
    strange = tmp_path / "rounds" / "00002.round"
    moved = strange.rename(tmp_path / "moved")
    os.mkfifo(strange) if kind == "pipe" else strange.symlink_to(moved)
    del trained[:]
    assert torch.equal(run.measure(federation, None, tmp_path / "rounds")[1], model)
    assert len(trained) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"updates": torch.zeros(2, 2)},
        {"updates": 3},
        {"begins": 1},
        {"acting": "[[7, [0]]]"},
        {"acting": "[[0, [-1]]]"},
        {"acting": "[" * 100_000},
        {"acting": 5},
        {"memory-0": "x"},
        {"memory-0": torch.ones(3, dtype=torch.uint8)},
        None,  # no memory at all
    ],
)
def test_a_whole_file_of_another_form_is_played_again(
    changed: dict[str, Any] | None, federation: Federation, trained: list[int], tmp_path: Path
) -> None:
    run = planned(federation)
    _, model = run.measure(federation, None, tmp_path / "rounds")
    strange = tmp_path / "rounds" / "00002.round"
    content = strange.read_bytes().partition(b"\n")[2]
    other = pack({"a": 1}) if changed is None else pack({**unpack(content), **changed})
    strange.write_bytes(sha256(other).encode() + b"\n" + other)
    del trained[:]
    assert torch.equal(run.measure(federation, None, tmp_path / "rounds")[1], model)
    assert len(trained) == 1
    assert strange.read_bytes().partition(b"\n")[2] == content


def test_runs_under_mpc_and_runs_whose_time_counts_keep_no_rounds(
    federation: Federation, tmp_path: Path
) -> None:
    run = plan_run(federation, rounds=20)
    assert run.resumable
    assert not Timed(run.config).resumable
    assert not plan_run(federation, rounds=19).resumable
    shared = plan_run(federation, defence="mean", backend="mpc", rounds=20)
    assert not shared.resumable
    with pytest.raises(InputError, match="journal must be left out under MPC"):
        shared.measure(federation, None, tmp_path / "rounds")


# A sweep that kills itself, as nobody can catch, in round 12 of its attacked run.
KILLED = """
import json, os, signal, sys
from secure_fl.simulation.journal import Journal
from tests.support import tiny_federation
from eval.jobs.sweep import sweep

write = Journal.write

def killing(journal, scene, updates, acting):
    write(journal, scene, updates, acting)
    if acting and scene.number == 12:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.write = killing
sweep(tiny_federation.made(), **json.loads(sys.argv[2]), folder=sys.argv[1])
"""


def test_a_sweep_killed_within_a_run_goes_on_from_its_last_round(
    federation: Federation, trained: list[int], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    killed = Warm(["-c", KILLED, str(folder), json.dumps(LONG_SWEEP)])
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (left,) = folder.glob("*.rounds")
    assert len(list(left.iterdir())) == 12
    done = sweep(federation, **LONG_SWEEP, folder=folder).rows
    assert len(trained) == 8
    assert not list(folder.glob("*.rounds"))
    whole = sweep(federation, **LONG_SWEEP).rows
    assert [timeless(row) for row in done] == [timeless(row) for row in whole]
