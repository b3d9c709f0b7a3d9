"""Local training of all hospitals at once, clipping and noise.

Hospitals are a batch dimension: their parameters are the rows of one (n, d) matrix, a step is one
batched gradient and one fused optimizer call. They are sorted by their number of steps, so that
those that have finished drop off the end and the rest stay one contiguous block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.optim.adam import adam

from secure_fl.data.dataset import Split
from secure_fl.errors import require
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.privacy import gaussian
from secure_fl.hospital.steps import PlacedHooks, StepHook
from secure_fl.models import Model


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: "cuda" where torch finds no GPU.
    """
    there = device != "cuda" or torch.cuda.is_available()
    require(there, "train.device", "cpu here, where torch finds no GPU", device)


class Scaffold(NamedTuple):
    """Control variates of SCAFFOLD: server (d,) and one row for each hospital (n, d)."""

    server: torch.Tensor
    local: torch.Tensor


def train(
    model: Model,
    start: torch.Tensor,
    splits: Sequence[Split],
    options: TrainOptions,
    seeds: Sequence[int],
    hooks: Sequence[StepHook] = (),
) -> torch.Tensor:
    """Train every hospital from the same model on its own rows.

    A hospital's result depends on its rows and its seed only, not on which others train beside
    it (up to the rounding of batched products).

    Args:
        model: the network.
        start: float (d,), the global model.
        splits: rows of each of the n hospitals; none empty.
        options: how to train.
        seeds: one for each hospital, fixing its batches.
        hooks: what some of them do otherwise in each step; the others' numbers do not change.

    Returns:
        float32 (n, d), trained parameters minus start.

    Raises:
        InputError: an empty split, a wrong shape, or not one seed for each hospital.
    """
    return _train(model, start, splits, options, seeds, None, hooks)[0]


def init_scaffold(hospitals: int, dim: int) -> Scaffold:
    """Zero control variates for the first round."""
    return Scaffold(
        torch.zeros(dim, dtype=torch.float32), torch.zeros(hospitals, dim, dtype=torch.float32)
    )


def train_scaffold(
    model: Model,
    start: torch.Tensor,
    splits: Sequence[Split],
    options: TrainOptions,
    seeds: Sequence[int],
    state: Scaffold,
) -> tuple[torch.Tensor, Scaffold]:
    """Like `train` with SCAFFOLD's drift correction, all hospitals taking part.

    Each step uses g - c_i + c; afterwards c_i <- c_i - c - update_i / (steps_i * lr), and c moves
    by the mean change of the c_i. Ref: Karimireddy et al., ICML 2020, option II.

    Returns:
        Updates (n, d) and the new control variates.

    Raises:
        InputError: as `train`; or an optimizer other than "sgd", on whose step size the formula
            rests.
    """
    require(options.optimizer == "sgd", "optimizer with SCAFFOLD", '"sgd"', options.optimizer)
    wanted = (len(splits), model.num_parameters)
    require(state.local.shape == wanted, "state.local", f"of shape {wanted}", state.local.shape)
    correction = state.server - state.local
    updates, steps = _train(model, start, splits, options, seeds, correction)
    local = state.local - state.server - updates / (steps.unsqueeze(1) * options.lr)
    return updates, Scaffold(state.server + (local - state.local).mean(0), local)


@contextmanager
def _whole_floats() -> Iterator[None]:
    """Keep a GPU from rounding the inputs of convolutions to 10 bits (TF32), torch's default.

    Adam takes steps of one size whatever a gradient's: 10 bits less are seen after one step.
    """
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


@_whole_floats()
def _train(
    model: Model,
    start: torch.Tensor,
    splits: Sequence[Split],
    options: TrainOptions,
    seeds: Sequence[int],
    correction: torch.Tensor | None,
    hooks: Sequence[StepHook] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Updates (n, d) and the number of steps (n,); `correction` (n, d) is added to gradients."""
    _check(model, start, splits, seeds)
    check_device(options.device)
    device = torch.device(options.device)
    sizes = torch.tensor([len(split) for split in splits])
    steps = options.epochs * ((sizes + options.batch_size - 1) // options.batch_size)
    order = torch.argsort(steps, descending=True, stable=True)  # finished hospitals drop off
    chosen = order.tolist()
    x = torch.cat([splits[i].x for i in chosen]).to(device)
    y = torch.cat([splits[i].y for i in chosen]).to(device)
    batches = _batches(sizes[order].tolist(), [seeds[i] for i in chosen], options)
    rows, weight = (part.to(device) for part in batches)
    active = (steps.unsqueeze(0) > torch.arange(int(steps.max())).unsqueeze(1)).sum(1).tolist()

    origin = start.detach().float().to(device)
    theta = origin.repeat(len(splits), 1)  # (n, d)
    if correction is not None:
        correction = correction[order].to(device)
    moments = (torch.zeros_like(theta), torch.zeros_like(theta))
    clock = torch.zeros((), dtype=torch.float32, device=device)
    placed = PlacedHooks(hooks, chosen)
    for step, count in enumerate(active):
        picked = rows[step, :count].flatten()
        batch_x = x.index_select(0, picked).unflatten(0, (count, -1))
        batch_y = y.index_select(0, picked).unflatten(0, (count, -1))
        here = theta[:count]
        gradient = model.gradients(here, batch_x, batch_y, weight[step, :count])
        if options.proximal_mu:
            gradient.add_(here - origin, alpha=options.proximal_mu)
        if correction is not None:
            gradient.add_(correction[:count])
        placed.constrain(here, gradient, origin, step)
        if options.optimizer == "sgd":
            here.sub_(gradient, alpha=options.lr)
        else:
            _adam(here, gradient, moments[0][:count], moments[1][:count], clock, options.lr)
        placed.project(here, origin, step)
    ended = (theta - origin).cpu()
    updates = torch.empty_like(ended)
    updates[order] = ended
    return updates, steps


def _adam(
    theta: torch.Tensor,
    gradient: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    clock: torch.Tensor,
    lr: float,
) -> None:
    """One fused step in place on rows (n, d); `clock` counts the steps."""
    adam(
        *([theta], [gradient], [mean], [square], [], [clock]),
        fused=True,
        amsgrad=False,
        maximize=False,
        beta1=0.9,
        beta2=0.999,
        lr=lr,
        weight_decay=0.0,
        eps=1e-8,
    )


def _batches(
    sizes: Sequence[int], seeds: Sequence[int], options: TrainOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and weights of every step: int64 and float32 (steps, n, batch).

    Each epoch is a fresh permutation of the hospital's rows. Padding, in short batches and after
    a hospital's last step, points at row 0 with weight 0; otherwise weights are 1 over the size
    of the batch.
    """
    batch = options.batch_size
    longest = options.epochs * max(-(-m // batch) for m in sizes)
    rows = torch.zeros(len(sizes), longest, batch, dtype=torch.int64)
    weight = torch.zeros(len(sizes), longest, batch, dtype=torch.float32)
    first = 0
    for i, (m, seed) in enumerate(zip(sizes, seeds, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        per_epoch = -(-m // batch)
        fill = torch.arange(per_epoch * batch).view(per_epoch, batch) < m
        share = fill / fill.sum(1, keepdim=True)
        for epoch in range(options.epochs):
            steps = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
            rows[i, steps][fill] = torch.randperm(m, generator=generator) + first
            weight[i, steps] = share
        first += m
    return rows.transpose(0, 1).contiguous(), weight.transpose(0, 1).contiguous()


def _check(
    model: Model, start: torch.Tensor, splits: Sequence[Split], seeds: Sequence[int]
) -> None:
    dim = model.num_parameters
    require(start.shape == (dim,), "start", f"of shape ({dim},)", tuple(start.shape))
    require(len(splits) >= 1, "splits", "at least one", len(splits))
    require(len(seeds) == len(splits), "seeds", f"{len(splits)}, one a hospital", len(seeds))
    for i, split in enumerate(splits):
        require(len(split) > 0, f"hospital {i}", "given at least one row", len(split))
        shape = tuple(split.x.shape[1:])
        require(
            shape == model.feature_shape, f"hospital {i}'s x", f"(m, *{model.feature_shape})", shape
        )


def clip(updates: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """Bound each row's length: u / max(1, ||u|| / C), as in the paper's section 2.1.

    Args:
        updates: float (n, d).
        clip_norm: C > 0.
    """
    require(clip_norm > 0, "clip_norm", "> 0", clip_norm)
    norms = torch.linalg.vector_norm(updates, dim=1, keepdim=True)  # (n, 1)
    clipped = updates / (norms / clip_norm).clamp(min=1.0)
    vast = norms.isinf()[:, 0]  # squares of float32 overflow from 1e19, those of float64 do not
    if vast.any() and updates.dtype != torch.float64:
        clipped[vast] = clip(updates[vast].double(), clip_norm).to(updates.dtype)
    return clipped


def clip_and_noise(
    updates: torch.Tensor,
    clip_norm: float | None,
    noise_sigma: float,
    keys: Sequence[bytes] | None = None,
) -> torch.Tensor:
    """Clip each row, then add Gaussian noise; new tensor.

    Args:
        updates: float (n, d).
        clip_norm: C; None leaves lengths alone.
        noise_sigma: standard deviation of the noise on each coordinate, in the units of the
            update; 0 adds none.
        keys: 16 secret bytes for each row, from which its noise is drawn (`privacy.gaussian`); used
            once. Needed when noise_sigma > 0.

    Raises:
        InputError: C <= 0, noise_sigma < 0, noise without keys, or noise without a clip
            (which would promise no privacy).
    """
    require(noise_sigma >= 0, "noise_sigma", ">= 0", noise_sigma)
    out = updates.clone() if clip_norm is None else clip(updates, clip_norm)
    if noise_sigma == 0:
        return out
    require(clip_norm is not None, "clip_norm", "given when noise is added", clip_norm)
    given = 0 if keys is None else len(keys)
    require(given == len(out), "keys", f"one a row when noise is added, {len(out)}", given)
    drawn = [torch.from_numpy(gaussian(key, out.shape[1])) for key in keys or ()]
    return (out.double() + noise_sigma * torch.stack(drawn)).to(out.dtype) if drawn else out
