"""Where hospitals train: on the processor, or on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secure_fl
from secure_fl.data.dataset import Split
from secure_fl.errors import ConfigError, InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import init_scaffold, train, train_scaffold
from secure_fl.models import CNN, MLP, Model, TorchModule
from secure_fl.simulation.run import RunConfig
from tests.support import tiny_job

GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="torch finds no GPU on this machine")
torch.manual_seed(0)
MODELS: list[Model] = [
    MLP((6,), 3, hidden=(5,)),
    CNN((1, 8, 8), 3),
    TorchModule(nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3)), (6,), 3),
]


def splits(model: Model) -> list[Split]:
    rng = torch.Generator().manual_seed(0)
    return [
        Split(torch.rand(m, *model.feature_shape, generator=rng), torch.arange(m) % 3)
        for m in (40, 12, 70)
    ]


@pytest.mark.skipif(GPU, reason="there is a GPU, which is not refused")
def test_a_gpu_that_is_not_there_is_refused_before_anything_runs() -> None:
    reason = "train.device must be cpu here, where torch finds no GPU; got 'cuda'"
    start = MODELS[0].init(torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=reason):
        train(MODELS[0], start, splits(MODELS[0]), TrainOptions(device="cuda"), [1, 2, 3])
    with pytest.raises(InputError, match=reason):
        secure_fl.run([*tiny_job.SETTINGS, "defence=fedavg", "train.device=cuda"])


def test_devices_have_names() -> None:
    with pytest.raises(ConfigError, match=r"train\.device must be one of cpu, cuda; got 'gpu'"):
        tiny_job.config("train.device=gpu")
    with pytest.raises(ConfigError, match=r"train\.device must be one of cpu, cuda"):
        TrainOptions(device="gpu")


def test_the_processor_is_no_setting_and_a_gpu_is() -> None:
    """Hashes of runs from before there was a choice stay what they were."""
    hashes = []
    for overrides in ((), ("train.device=cpu",), ("train.device=cuda",)):
        config = tiny_job.config(*overrides)
        hashes.append(RunConfig(config, config.defences[0], config.attacks[0], 0.25).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@needs_gpu
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_gpu_trains_the_same_models_to_rounding(model: Model, optimizer: str) -> None:
    start, rows = model.init(torch.Generator().manual_seed(0)), splits(model)
    here, there = (
        train(
            model,
            start,
            rows,
            TrainOptions(epochs=2, lr=0.01, optimizer=optimizer, device=device),
            [1, 2, 3],
        )
        for device in ("cpu", "cuda")
    )
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, atol=2e-3, rtol=1e-2)


@needs_gpu
def test_scaffold_trains_on_a_gpu() -> None:
    model = MODELS[0]
    start, rows = model.init(torch.Generator().manual_seed(0)), splits(model)
    state = init_scaffold(3, model.num_parameters)
    results = [
        train_scaffold(
            model,
            start,
            rows,
            TrainOptions(epochs=1, optimizer="sgd", lr=0.1, device=device),
            [1, 2, 3],
            state,
        )[0]
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-3)


@needs_gpu
def test_a_whole_run_trains_on_a_gpu() -> None:
    settings = [*tiny_job.SETTINGS, "defence=fedavg"]
    here = secure_fl.run(settings)
    there = secure_fl.run([*settings, "train.device=cuda"])
    torch.testing.assert_close(there.model, here.model, atol=5e-3, rtol=5e-2)


@needs_gpu
@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_updates_on_a_gpu_are_aggregated(backend: str) -> None:
    updates = 0.1 * torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    here = secure_fl.aggregate(updates, "median", backend=backend)
    there = secure_fl.aggregate(updates.cuda(), "median", backend=backend)
    assert torch.equal(here.update, there.update)
    listed = secure_fl.aggregate([row.cuda() for row in updates], "median", backend=backend)
    assert torch.equal(here.update, listed.update)
