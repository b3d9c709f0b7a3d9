"""One round of local training, three ways, for `secure-fl bench training`.

The built-in network, the same network as a `torch.nn.Module` through the adapter, and the module in
a loop over hospitals as one would write it by hand: all on the same rows, batches and steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypedDict

import torch
from torch import nn

from secure_fl import models, seeds
from secure_fl.data.dataset import Split
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import MLP, TorchModule

# As SUPPORT2 after preprocessing, and as the main job divides it: rows of a hospital, balanced.
FEATURES, CLASSES, ROWS = 58, 2, 470
WAYS = ("built-in", "module", "loop")


class Row(TypedDict):
    """One way to train.

    Attributes:
        way: one of `WAYS`.
        hospitals: how many train.
        seconds: median on the clock for a round of all hospitals.
        times_loop: how many times faster than the loop.
    """

    way: str
    hospitals: int
    seconds: float
    times_loop: float


def measure(hospitals: int, epochs: int, repetitions: int) -> list[Row]:
    """Time every way on the same work, one after the other in each repetition."""
    splits, network = made_up(hospitals), MLP((FEATURES,), CLASSES)
    start = network.init(seeds.torch_generator(0, "model"))
    module = as_module(network, start)
    adapter = TorchModule(module, (FEATURES,), CLASSES)
    options, draws = TrainOptions(epochs=epochs), list(range(hospitals))
    own = adapter.init(seeds.torch_generator(0, "model"))
    ways: dict[str, Callable[[], object]] = {
        "built-in": lambda: train(network, start, splits, options, draws),
        "module": lambda: train(adapter, own, splits, options, draws),
        "loop": lambda: loop(module, splits, options, draws),
    }
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repetitions):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            taken[way].append(time.perf_counter() - began)
    slow = median(taken["loop"])
    return [
        Row(way=way, hospitals=hospitals, seconds=s, times_loop=slow / s)
        for way, s in ((way, median(taken[way])) for way in WAYS)
    ]


def made_up(hospitals: int) -> list[Split]:
    """Random rows of each hospital; their number differs by up to a half."""
    splits = []
    for i in range(hospitals):
        rng = torch.Generator().manual_seed(i)
        count = ROWS * 3 // 4 + int(torch.randint(ROWS // 2, (), generator=rng))
        x = torch.rand(count, FEATURES, generator=rng, dtype=torch.float32)
        splits.append(Split(x, torch.randint(CLASSES, (count,), generator=rng)))
    return splits


def as_module(network: models.MLP, params: torch.Tensor) -> nn.Module:
    """The built-in network out of torch.nn, with the parameters (d,)."""
    tensors = [part[0] for part in network.split(params.unsqueeze(0))]
    layers: list[nn.Module] = []
    with torch.no_grad():
        for weight, bias in zip(tensors[::2], tensors[1::2], strict=True):
            linear = nn.Linear(*weight.shape)
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)
            layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loop(
    module: nn.Module, splits: Sequence[Split], options: TrainOptions, draws: Sequence[int]
) -> torch.Tensor:
    """Train hospital after hospital with torch.optim: updates (n, d) of `train`, to rounding."""
    begun = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    updates = []
    for split, seed in zip(splits, draws, strict=True):
        with torch.no_grad():
            nn.utils.vector_to_parameters(begun.clone(), module.parameters())
        optimizer = torch.optim.Adam(module.parameters(), lr=options.lr)
        rng = torch.Generator().manual_seed(seed)
        for _ in range(options.epochs):
            for rows in torch.randperm(len(split), generator=rng).split(options.batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(module(split.x[rows]), split.y[rows]).backward()
                optimizer.step()
        ended = nn.utils.parameters_to_vector(module.parameters()).detach()
        updates.append(ended - begun)
    with torch.no_grad():
        nn.utils.vector_to_parameters(begun, module.parameters())
    return torch.stack(updates)
