"""A run leaves the program that starts it as it was, and does not depend on what it was like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import secure_fl
from eval.cli import main as cli
from eval.jobs import cell_row
from secure_fl.files import read_json
from tests.support import tiny_job

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = [*tiny_job.SETTINGS, "rounds=1", "repeatable_secrets=true"]

STATE = """
import json, locale, logging, os, random, signal, socket, sys, threading, warnings
import numpy as np, scipy.sparse, scipy.special, torch

def state():
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch": (str(torch.get_default_dtype()), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled()),
        "torch's generator": torch.get_rng_state().tolist(),
        "NumPy's generator": repr(np.random.get_state()),
        "Python's generator": repr(random.getstate()),
        "NumPy": (np.geterr(), repr(np.get_printoptions())),
        "signal handlers": {int(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
        "environment": dict(os.environ),
        "warnings": repr(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "locale": locale.setlocale(locale.LC_ALL),
        "files": (mask, os.getcwd()),
        "path": list(sys.path),
        "logging": (logging.root.level, repr(logging.root.handlers), logging.root.manager.disable),
        "hooks": (repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook)),
        "sockets": socket.getdefaulttimeout(),
    }

torch.set_num_threads(2)
torch.manual_seed(5), np.random.seed(6), random.seed(7)
before = state()
import secure_fl, secure_fl.data
secure_fl.run(SETTINGS)
secure_fl.data.load("digits")
secure_fl.aggregate([[1.0], [2.0], [7.0]], "median", "fixed")
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


def test_the_process_is_as_it_was_after_a_run_and_an_aggregation() -> None:
    """In a fresh one, so that what imports do counts too; a ledger and nodes take part."""
    settings = [*SETTINGS, "defences=[paper]", "defence.backend=mpc"]
    done = subprocess.run(
        [sys.executable, "-c", STATE.replace("SETTINGS", repr(settings))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_a_job_and_a_command_leave_threads_and_handlers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(2)
    try:
        tiny_job.run(tmp_path / "run", ["threads=1", "defences=[fedavg]", "attacks=[none]"])
        assert cli.main(["audit", str(tmp_path / "run")]) == 3  # it has no pages
        assert torch.get_num_threads() == 2
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def double() -> Iterator[None]:
    """Torch as in a program that computes with float64 throughout."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_the_programs_default_device_is_not_ours(backend: str) -> None:
    """On `meta`, where nothing can be computed, as on `cuda`."""
    updates = torch.tensor([[1.0], [2.0], [7.0]])
    torch.set_default_device("meta")
    try:
        result = secure_fl.aggregate(updates, "median", backend)
        assert str(torch.empty(1).device) == "meta"
    finally:
        torch.set_default_device(None)
    assert result.update.tolist() == [2.0]


CASES = [
    ["defences=[guarded]", "attacks=[adaptive_backdoor]", "privacy.noise_sigma=0.01"],
    ["defences=[paper]", "attacks=[random_noise]"],
    ["defences=[robust]", "attacks=[alie]", "train.optimizer=sgd", "train.proximal_mu=0.1"],
]


def models(case: list[str]) -> list[str]:
    rows = secure_fl.run([*SETTINGS, *case]).rows
    return [row["model_sha256"] for row in rows]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_results_do_not_depend_on_torchs_default_type(
    case: list[str], request: pytest.FixtureRequest
) -> None:
    expected = models(case)
    request.getfixturevalue("double")
    assert models(case) == expected


def test_measures_of_a_job_do_not_depend_on_torchs_default_type(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    measured = []
    for name in ("single", "double"):
        if name == "double":
            request.getfixturevalue(name)
        folder = tiny_job.run(tmp_path / name, ["rounds=1", "defences=[fedavg]"])
        cells = [read_json(path) for path in sorted(folder.glob("cells/*/cell.json"))]
        measured.append([{key: cell[key] for key in cell_row.MEASURES} for cell in cells])
    assert len(measured[0]) == 2
    assert measured[0] == measured[1]


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_aggregates_do_not_depend_on_torchs_default_type(
    backend: str, request: pytest.FixtureRequest
) -> None:
    x = 0.1 * torch.randn(9, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rules = ("weighted_mean", "trimmed_mean", "mean_around_median", "algorithm2", "guarded")
    expected = {r: secure_fl.aggregate(x, r, backend, reference=x.mean(0)) for r in rules}
    request.getfixturevalue("double")
    for rule in rules:
        result = secure_fl.aggregate(x, rule, backend, reference=x.mean(0))
        assert torch.equal(result.update, expected[rule].update), rule


@pytest.mark.parametrize("named", ["module://matplotlib_inline.backend_inline", "no such thing"])
def test_commands_draw_whatever_backend_a_notebook_names(named: str) -> None:
    code = "import eval.figures.figures, eval.cli, os; print(os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": named, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == named  # left to the program
