"""The tuning of the guarded server after the last round, which unlearns triggers.

A trigger is a pattern in few features that a model answers to. Both ways show the model public rows
with random features overwritten, so that no few features decide alone; they differ in what it is
taught to answer there.

- `fine_tune`: the labels of half A. Safe, and as good as half A: what the hospitals taught beyond
  it is soon forgotten.
- `distil`: its own answers to the same rows as they were. No label is used, so that what the
  hospitals taught stays, where it does not hang on few features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F

from secure_fl.data.dataset import Split
from secure_fl.data.preprocessing import balance_classes
from secure_fl.errors import require
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import Model
from secure_fl.server.guard import GuardOptions

# Of the rows that are distilled, the share that is changed in some way, and of those rows' features
# the share that comes from another row.
CHANGED, MIXED = 0.5, 1 / 3


def tune(
    model: Model,
    params: torch.Tensor,
    root: Split,
    holdout: Split,
    options: TrainOptions,
    guard: GuardOptions,
    seed: int,
) -> torch.Tensor:
    """Tune the model of the last round as `guard.tuning` says.

    Args:
        model: the network.
        params: float (d,), the final model of the rounds.
        root: half A.
        holdout: half B.
        options: the hospitals' options; epochs and proximal term are replaced.
        guard: `tuning`, `tune_runs`, `tune_epochs`, `tune_copies` and `tune_share`.
        seed: fixes all choices.

    Returns:
        float32 (d,).
    """
    if guard.tune_epochs == 0 or guard.tuning == "none":
        return params.float().clone()
    if guard.tuning == "labels":
        return fine_tune(model, params, root, options, guard, seed)
    return distil(model, params, torch.cat([root.x, holdout.x]), options, guard, seed)


def overwrite_features(x: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Rows with random features set to 0 or 1, the two extremes a static trigger can use.

    Tables: each value with probability `share`. Images: one patch a row, at a random place, with
    the image's proportions, that covers about `share` of the pixels.

    Args:
        x: float32 (m, F) or (m, C, H, W) in [0, 1].
        share: in [0, 1].
        generator: source of randomness.

    Returns:
        A new tensor of the same shape.
    """
    m = len(x)
    if x.dim() == 2:
        hit = torch.rand(x.shape, generator=generator, dtype=torch.float32) < share
        extreme = torch.randint(2, x.shape, generator=generator).to(x.dtype)
        return torch.where(hit, extreme, x)
    height, width = x.shape[-2:]
    tall, wide = round(share**0.5 * height), round(share**0.5 * width)
    extreme = torch.randint(2, (m, 1, 1, 1), generator=generator).to(x.dtype)
    top = torch.randint(height - tall + 1, (m, 1, 1, 1), generator=generator)
    left = torch.randint(width - wide + 1, (m, 1, 1, 1), generator=generator)
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    hit = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return torch.where(hit, extreme, x)


def fine_tune(
    model: Model,
    params: torch.Tensor,
    root: Split,
    options: TrainOptions,
    guard: GuardOptions,
    seed: int,
) -> torch.Tensor:
    """Train on half A with random features overwritten, so that no few features decide alone.

    Long tuning forgets what the hospitals taught and learns half A by heart. The average of runs
    that differ in their batches and overwritten features keeps what they agree on.
    Ref: Wortsman et al., ICML 2022 (model soups), for the average.

    Args:
        model: the network.
        params: float (d,), the final model of the rounds.
        root: half A; its classes are balanced here.
        options: the hospitals' options; epochs and proximal term are replaced.
        guard: `tune_runs`, `tune_epochs`, `tune_copies` and `tune_share`.
        seed: fixes choices and batches.

    Returns:
        float32 (d,).
    """
    rng = torch.Generator().manual_seed(seed)
    runs = []
    for _ in range(guard.tune_runs):
        rows = balance_classes(root, rng)
        x = [overwrite_features(rows.x, guard.tune_share, rng) for _ in range(guard.tune_copies)]
        runs.append(Split(torch.cat(x), rows.y.repeat(guard.tune_copies)))
    tuned = replace(options, epochs=guard.tune_epochs, proximal_mu=0.0)
    updates = train(model, params, runs, tuned, [seed + i for i in range(len(runs))])
    return params.float() + updates.mean(0)


def mix_features(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows, some of which take some features from another row.

    A teacher that is asked about rows between the public ones tells more of what it knows than it
    does about these few alone.

    Args:
        x: float32 (m, *features).
        generator: source of randomness.

    Returns:
        A new tensor of the same shape.
    """
    other = x[torch.randperm(len(x), generator=generator)]
    taken = torch.rand(x.shape, generator=generator, dtype=torch.float32) < MIXED
    return torch.where(taken & _some(x, generator), other, x)


def _some(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Which rows are changed: bool (m, 1, ...)."""
    chosen = torch.rand(len(x), generator=generator, dtype=torch.float32) < CHANGED
    return chosen.view(-1, *[1] * (x.dim() - 1))


def distil(
    model: Model,
    params: torch.Tensor,
    rows: torch.Tensor,
    options: TrainOptions,
    guard: GuardOptions,
    seed: int,
) -> torch.Tensor:
    """Teach copies of the model its own answers, on rows with features overwritten; average them.

    The teacher is the model as it is, asked about rows of which some are mixed with others
    (`mix_features`); students begin as it and see the same rows, some with random features
    overwritten (`overwrite_features`). The loss is the cross-entropy of the student's answers with
    the teacher's probabilities. Answers that hang on few features cannot be kept so; a trigger that
    changes all features a little can.
    Ref: Hinton, Vinyals, Dean, 2015, for distillation; Furlanello et al., ICML 2018, for a student
    like its teacher; Li et al., ICLR 2021 (Neural Attention Distillation), against backdoors.

    Args:
        model: the network.
        params: float (d,), the teacher.
        rows: float32 (m, *features), public; without labels.
        options: the hospitals' optimizer, learning rate, size of batches and device.
        guard: `tune_runs`, `tune_epochs`, `tune_copies` and `tune_share`.
        seed: fixes all choices.

    Returns:
        float32 (d,).

    Raises:
        InputError: there are no rows.
    """
    require(len(rows) > 0, "rows", "at least one to distil on", len(rows))
    rng, device = torch.Generator().manual_seed(seed), torch.device(options.device)
    teacher = params.detach().float().to(device).repeat(guard.tune_runs, 1)  # (runs, d)
    students = teacher.clone().requires_grad_()
    kind = torch.optim.SGD if options.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind([students], lr=options.lr)
    for _ in range(guard.tune_epochs):
        for clean, shown in _batches(rows, options.batch_size, guard, rng):
            clean, shown = clean.to(device), shown.to(device)
            with torch.no_grad():
                wanted = model.logits(teacher, clean).softmax(2)
            answered = F.log_softmax(model.logits(students, shown), 2)  # (runs, B, classes)
            optimizer.zero_grad()
            # Of each student the mean over the rows: they do not share a step.
            (-(wanted * answered).sum(2).mean(1).sum()).backward()
            optimizer.step()
    return students.detach().mean(0).cpu()


def _batches(
    rows: torch.Tensor, size: int, guard: GuardOptions, rng: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch: what the teacher sees and what the student sees, (runs, B, *features) each."""
    asked, shown = [], []
    for _ in range(guard.tune_runs):
        mixed = torch.cat([mix_features(rows, rng) for _ in range(guard.tune_copies)])
        mixed = mixed[torch.randperm(len(mixed), generator=rng)]
        overwritten = overwrite_features(mixed, guard.tune_share, rng)
        asked.append(mixed)
        shown.append(torch.where(_some(mixed, rng), overwritten, mixed))
    for first in range(0, len(asked[0]), size):
        yield (
            torch.stack([each[first : first + size] for each in asked]),
            torch.stack([each[first : first + size] for each in shown]),
        )
