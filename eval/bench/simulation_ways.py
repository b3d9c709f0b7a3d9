"""Rounds of federated averaging, three ways, for `secure-fl bench simulation`.

The simulation as `secure_fl.run` plays it, with its validators, test rows and records; a loop over
hospitals as one would write it by hand; Flower's simulation, where it can be run. All train the
same network on the same rows in the same batches, and so end in the same model but for rounding.
The other two neither measure nor record anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import numpy as np
import torch
from torch import nn

import secure_fl
from eval.bench import flower_peer
from eval.bench.training_ways import CLASSES, FEATURES, as_module, loop, made_up
from secure_fl import seeds
from secure_fl.data.dataset import Split
from secure_fl.errors import InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.models import MLP
from secure_fl.threads import torch_threads

# Rows of the public root, of each of five validators, and of the test, as in the main job.
ROOT, VALIDATOR, TEST = 456, 91, 1821
SEED = 0
HIDDEN = (64, 32)
NETWORK = MLP((FEATURES,), CLASSES, HIDDEN)


class Row(TypedDict):
    """One way to play rounds.

    Attributes:
        way: "simulation", "loop" or "flower".
        hospitals, threads: how many train, and how many threads torch has.
        seconds: median on the clock for a round; the first is left out, as it starts processes.
        times: of the simulation's seconds.
        gap: largest difference of its model after the first round to the simulation's: rounding.
            Later rounds tell no more: where gradients are small Adam steps by their signs, and a
            loop that begins 3e-6 beside another ends its round 4e-3 beside it.
    """

    way: str
    hospitals: int
    threads: int
    seconds: float
    times: float
    gap: float


def measure(hospitals: int, epochs: int, rounds: int, threads: int) -> list[Row]:
    """Time every way on the same task, one after the other.

    Raises:
        InputError: FLOWER_PYTHON cannot run Flower.
    """
    splits, options = made_up(hospitals), TrainOptions(epochs=epochs)
    start, first, taken = simulated(splits, options, rounds, threads)
    found = {"simulation": (first, taken)}
    with torch_threads(threads):
        found["loop"] = looped(start, splits, options, rounds)
    interpreter = flower_python()
    if interpreter is not None:
        found["flower"] = by_flower(interpreter, start, splits, options, rounds, threads)
    fast = median(taken)
    return [
        Row(
            way=way,
            hospitals=hospitals,
            threads=threads,
            seconds=median(seconds),
            times=median(seconds) / fast,
            gap=float((model - first).abs().max()),
        )
        for way, (model, seconds) in found.items()
    ]


def simulated(
    splits: Sequence[Split], options: TrainOptions, rounds: int, threads: int
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """The whole simulation: the initial model (d,), that after the first round, and the seconds of
    each later round."""
    held = np.random.default_rng(SEED)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        return held.random((count, FEATURES), dtype=np.float32), np.arange(count) % CLASSES

    federation = secure_fl.Federation.from_arrays(
        [(split.x, split.y) for split in splits],
        rows(ROOT),
        [rows(VALIDATOR) for _ in range(5)],
        rows(TEST),
        NETWORK,
    )
    models, seconds = [], []
    with secure_fl.start(
        federation,
        defence="fedavg",
        rounds=rounds,
        seed=SEED,
        threads=threads,
        train={"epochs": options.epochs},
        privacy={"clip_norm": None},
    ) as steps:
        models.append(steps.state.model.clone())
        while not steps.done:
            began = time.perf_counter()
            steps.step()
            seconds.append(time.perf_counter() - began)
            models.append(steps.state.model.clone())
        return models[0], models[1], seconds[1:]


def draws(hospitals: int, number: int) -> list[int]:
    """What fixes each hospital's batches in a round of a run with seed `SEED`."""
    return [seeds.integer(SEED, "training", number, i) for i in range(hospitals)]


def looped(
    start: torch.Tensor, splits: Sequence[Split], options: TrainOptions, rounds: int
) -> tuple[torch.Tensor, list[float]]:
    """Hospital after hospital, then the mean weighted by rows; what `simulated` gives but the
    initial model."""
    module = as_module(NETWORK, start)
    vector = nn.utils.parameters_to_vector(module.parameters()).detach()
    counts = torch.tensor([len(split) for split in splits], dtype=torch.float32)
    weights = (counts / counts.sum()).unsqueeze(1)  # (n, 1)
    models, seconds = [], []
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        updates = loop(module, splits, options, draws(len(splits), number))  # (n, d)
        vector = vector + (weights * updates).sum(dim=0)
        with torch.no_grad():
            nn.utils.vector_to_parameters(vector.clone(), module.parameters())
        seconds.append(time.perf_counter() - began)
        models.append(_flat(module))
    return models[0], seconds[1:]


def _flat(module: nn.Module) -> torch.Tensor:
    """The parameters of `as_module`'s network as `NETWORK` has them, input by output: (d,)."""
    parts = [p.T if p.dim() == 2 else p for p in module.parameters()]
    return torch.cat([part.detach().flatten() for part in parts])


def flower_python() -> str | None:
    """An interpreter that has Flower: the one that FLOWER_PYTHON names, or this one; else None."""
    named = os.environ.get("FLOWER_PYTHON")
    if named:
        return named
    return sys.executable if find_spec("flwr") and find_spec("ray") else None


def by_flower(
    interpreter: str,
    start: torch.Tensor,
    splits: Sequence[Split],
    options: TrainOptions,
    rounds: int,
    threads: int,
) -> tuple[torch.Tensor, list[float]]:
    """Flower's simulation in a process of its own (`eval.bench.flower_peer`); see `looped`.

    Raises:
        InputError: it failed; the message has its last line.
    """
    program = Path(flower_peer.__file__)
    with tempfile.TemporaryDirectory() as scratch:
        task, made = Path(scratch) / "task.npz", Path(scratch) / "model.npy"
        module = as_module(NETWORK, start)
        arrays: dict[str, Any] = {
            "start": nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
        }
        for i, split in enumerate(splits):
            arrays |= {f"x{i}": split.x.numpy(), f"y{i}": split.y.numpy()}
        listed = [draws(len(splits), number) for number in range(1, rounds + 1)]
        told: dict[str, Any] = {"epochs": options.epochs, "batch": options.batch_size}
        told |= {"lr": options.lr}
        told |= {"hospitals": len(splits), "rounds": rounds, "threads": threads}
        told |= {"widths": [FEATURES, *HIDDEN, CLASSES]}
        np.savez(task, draws=np.array(listed, dtype=np.int64), **arrays)
        line = [interpreter, str(program), str(task), str(made), json.dumps(told)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise InputError(f"FLOWER_PYTHON={interpreter} could not run {program.name}: {last}")
        seconds: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
        with torch.no_grad():
            ended = torch.from_numpy(np.load(made))
            nn.utils.vector_to_parameters(ended, module.parameters())
        return _flat(module), seconds[1:]
