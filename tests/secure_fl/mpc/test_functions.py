"""CrypTen programs of real processes use the order statistics, norms and bits of `functions`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.crypten_program import values
from tests.support.warm import Warm

ROOT = Path(__file__).resolve().parents[3]


def program(
    tmp_path: Path, task: str, communicator: str, provider: str = "TFP", parties: int = 2
) -> list[Any]:
    """Run a task, or several, with all parties; what each printed, in order of rank."""
    command = ["-m", "tests.support.crypten_program"]
    tasks = [task] * parties + ["serve"] * (provider == "TTP")
    commands = [[*command, name, communicator, provider] for name in tasks]
    printed = [json.loads(text.splitlines()[-1]) for text in launch(tmp_path, commands, parties)]
    return printed if "+" in task else [results[task] for results in printed]


def launch(tmp_path: Path, commands: list[list[str]], parties: int) -> list[str]:
    """Start one process a command, as CrypTen wants it; what each party printed."""
    environment = {
        **os.environ,
        "WORLD_SIZE": str(parties),
        "RENDEZVOUS": f"file://{tmp_path}/rendezvous",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        Warm(words, ROOT, {**environment, "RANK": str(rank)}) for rank, words in enumerate(commands)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes[:parties]]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes[:parties]] == [0] * parties
    return outputs


def test_docstring_examples_run(tmp_path: Path) -> None:
    for result in program(tmp_path, "examples", "tcp", parties=3):
        assert result["failed"] == 0
        assert result["tried"] >= 14


@pytest.mark.parametrize(("parties", "communicator"), [(1, "gloo"), (2, "tcp")])
def test_tensors_of_any_scale_and_sharing(tmp_path: Path, parties: int, communicator: str) -> None:
    """Right, or refused by name; by one party alone too, as after a bare `crypten.init()`."""
    for results in program(
        tmp_path, "examples+memory+scales+refusals", communicator, parties=parties
    ):
        assert results["examples"]["failed"] == 0
        assert results["examples"]["tried"] >= 14
        assert len(results["scales"]) > 35
        for name, (found, wanted, gap) in results["scales"].items():
            np.testing.assert_allclose(found, wanted, rtol=0, atol=gap, err_msg=name)
        assert results["memory"]["median"] == 499.5 / 8
        assert results["memory"]["mib"] < 200  # 3,300 where all pairs are compared
        for rule, said in results["refusals"].items():
            assert said.startswith(rule), (rule, said)
            assert "; got " in said


@pytest.mark.parametrize(
    ("communicator", "provider", "parties"),
    [
        pytest.param("gloo", "TFP", 2, marks=pytest.mark.nightly),
        ("tcp", "TFP", 3),
        ("tcp", "TTP", 2),
    ],
)
def test_functions_equal_numpy(
    tmp_path: Path, communicator: str, provider: str, parties: int
) -> None:
    results = program(tmp_path, "outcomes", communicator, provider, parties)
    assert all(result == results[0] for result in results)
    for seed, case in results[0].items():
        compare(int(seed), case)


def compare(seed: int, case: dict[str, Any]) -> None:
    """Hold one case to NumPy: order statistics exactly, the rest within two units of 2^-16."""
    unit = 2.0**-16
    n, d = case["n"], case["d"]
    x = values(seed, (n, d), case["kind"]).numpy()
    y = values(seed + 100, (d,), "small").numpy()

    def exact(name: str, expected: np.ndarray) -> None:
        np.testing.assert_array_equal(np.float32(case[name]), np.float32(expected), name)

    exact("median", np.floor(np.median(x, axis=0) / unit) * unit)
    exact("median_columns", np.floor(np.median(x, axis=1) / unit) * unit)
    exact("kth", x.max(axis=0))
    exact("sort", np.sort(x, axis=0))
    exact("planes", x)
    order = np.argsort(x, axis=0, kind="stable")
    top = np.zeros_like(x)
    np.put_along_axis(top, order[n - (n + 1) // 2 :], 1.0, axis=0)
    exact("topk", top)
    scale = max(1.0, np.abs(x).max())
    tight = {"rtol": 2e-7, "atol": 2 * unit}
    np.testing.assert_allclose(case["quantile"], np.quantile(x, 0.3, axis=0), atol=unit * scale)
    trim = int(0.2 * n)
    middle = np.sort(x, axis=0)[trim : n - trim].mean(axis=0)
    np.testing.assert_allclose(case["trimmed"], middle, **tight)
    if case["kind"] == "large":
        return
    squares = (x**2).sum(axis=1)
    np.testing.assert_allclose(case["norm"], squares, **tight)
    lengths = np.maximum(np.sqrt(squares), 1e-300)[:, None]
    clipped = x * np.minimum(1, 0.75 / lengths)
    np.testing.assert_allclose(case["clip"], clipped, atol=8 * unit)
    cosines = x @ y / (lengths[:, 0] * np.linalg.norm(y))
    np.testing.assert_allclose(case["cosine_public"], cosines, atol=2 * unit)
    np.testing.assert_allclose(case["cosine"], cosines, atol=2 * unit)


def test_crypten_operators_agree_between_communicators(tmp_path: Path) -> None:
    (tmp_path / "gloo").mkdir()
    gloo = program(tmp_path / "gloo", "operators", "gloo")
    tcp = program(tmp_path, "operators", "tcp")
    assert tcp[0]["communicator"] == "TcpCommunicator"
    x, y = values(0, (6, 4), "small"), values(1, (6, 4), "small")
    expected = {
        "sum": x + y,
        "product": x * y,
        "matmul": x @ y.T,
        "less": (x < y).double(),
        "max": x.max(dim=0).values,
        "relu": x.relu(),
    }
    for results in (gloo, tcp):
        assert results[0] == results[1] | {"communicator": results[0]["communicator"]}
        for name, wanted in expected.items():
            # CrypTen truncates products at random by one unit.
            torch.testing.assert_close(
                torch.tensor(results[0][name], dtype=torch.float64), wanted, rtol=0, atol=8e-5
            )


def test_the_documented_program_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(# file: crypten_median.py.*?)```", page, re.DOTALL)
    path = tmp_path / "crypten_median.py"
    path.write_text(text, encoding="utf-8")
    outputs = launch(tmp_path, [[str(path)]] * 2, 2)
    wanted = np.median([[0.6, 0.8], [0.3, 0.4], [0.6, -0.8]], axis=0)
    for output in outputs:
        np.testing.assert_allclose(json.loads(output), wanted, atol=2**-14)


UNCHANGED = """
import crypten
crypten.init()
x = crypten.cryptensor([1.0, -2.0], src=0)
print([type(crypten.communicator.get()).__name__, (x * x).get_plain_text().tolist()])
"""


def test_a_program_runs_unchanged_over_tcp(tmp_path: Path) -> None:
    path = tmp_path / "unchanged.py"
    path.write_text(UNCHANGED, encoding="utf-8")
    command = ["-m", "secure_fl.mpc.over_tcp", str(path)]
    for output in launch(tmp_path, [command] * 2, 2):
        name, squares = json.loads(output.replace("'", '"'))
        assert name == "TcpCommunicator"
        np.testing.assert_allclose(squares, [1.0, 4.0], atol=2**-14)


SPAWNING = """
import multiprocessing, os, tempfile

def party(rank, meet):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", RENDEZVOUS=f"file://{meet}")
    import crypten, torch
    crypten.init()
    comm = crypten.communicator.get()
    layer = torch.nn.Linear(2, 1)  # JSON cannot hold it
    torch.nn.init.constant_(layer.weight, 3.0)
    kinds = [type(comm).__name__, type(comm.main_group).__name__]
    if rank == 0:
        comm.send_obj(layer, 1)
        comm.send_obj(os.getcwd, 1)
        assert comm.broadcast_obj(None, 1) == {"size": torch.Size([2])}
    else:
        assert comm.recv_obj(0).weight.tolist() == [[3.0, 3.0]]
        try:
            comm.recv_obj(0)
        except ValueError as error:
            kinds.append(str(error))
        comm.broadcast_obj({"size": torch.Size([2])}, 1)
        print(kinds, flush=True)
    crypten.uninit()

if __name__ == "__main__":
    context = multiprocessing.get_context("METHOD")
    meet = os.path.join(tempfile.mkdtemp(), "meet")
    parties = [context.Process(target=party, args=(rank, meet)) for rank in range(2)]
    for process in parties:
        process.start()
    for process in parties:
        process.join()
    raise SystemExit(sum(process.exitcode for process in parties))
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_that_the_program_starts_move_too(tmp_path: Path, method: str) -> None:
    path = tmp_path / "spawning.py"
    path.write_text(SPAWNING.replace("METHOD", method), encoding="utf-8")
    command = ["-m", "secure_fl.mpc.over_tcp", str(path)]
    (output,) = launch(tmp_path, [command], 1)
    assert "TcpCommunicator" in output
    assert "restricted for pickled module posix.getcwd" in output
