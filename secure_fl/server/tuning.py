"""The tuning of the guarded server after the last round, which unlearns triggers.

A trigger is a pattern in few features that a model answers to. Both ways show the model public rows
that are changed at random, so that no few features decide alone; they differ in what it is taught
to answer there, and in the changes.

- `fine_tune`: the labels of half A, on rows with features overwritten by 0 or 1. Safe, and as good
  as half A: what the hospitals taught beyond it is soon forgotten.
- `distil`: the labels of both halves and, with the weight that they leave, its own answers to the
  rows as they were. Features come from other rows, so that neither values that no row has nor
  values that many rows have decide alone. What is taught is the model itself, or one that has
  learned these labels and nothing of the hospitals (`guard.tune_start`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from secure_fl.data.dataset import Split, concatenate
from secure_fl.data.preprocessing import balance_classes
from secure_fl.errors import require
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import Model
from secure_fl.server.guard import GuardOptions

# What `disturb` writes: of a table, the share of values written anew beside those of other rows;
# of an image, patches and the smallest and largest share of the pixels that one covers.
WRITTEN = 0.05
PATCHES, SMALLEST, LARGEST = 4, 0.005, 0.05


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
        guard: `tuning` and all settings of the tuning.
        seed: fixes all choices.

    Returns:
        float32 (d,).
    """
    if guard.tune_epochs == 0 or guard.tuning == "none":
        return params.float().clone()
    if guard.tuning == "labels":
        return fine_tune(model, params, root, options, guard, seed)
    begun = begin(model, params, root, holdout, options, guard, seed)
    rows = concatenate([root, holdout])
    return distil(model, params, begun, rows, options, guard, seed)


def begin(
    model: Model,
    params: torch.Tensor,
    root: Split,
    holdout: Split,
    options: TrainOptions,
    guard: GuardOptions,
    seed: int,
) -> torch.Tensor:
    """What `tune` sets out from: the model of the last round, or one of the public labels alone.

    Args and returns as of `tune`.
    """
    tuned = guard.tuning == "distillation" and guard.tune_epochs > 0
    if not (tuned and guard.tune_start == "public"):
        return params.float().clone()
    return learn(model, concatenate([root, holdout]), options, guard, seed + 1)


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


def disturb(x: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Rows changed so that no few of their features tell much.

    Tables: each value comes from the same column of another row with probability `share`, each
    column from a row of its own; then each is written anew with probability `WRITTEN`. Images:
    `PATCHES` patches a row, each of its own size and place, written anew; `share` has no effect.
    What is written anew is, with even odds, 0 or 1, or uniform in [0, 1]; a patch has one value.
    After Bahri et al., ICLR 2022 (SCARF), for values of other rows, and DeVries, Taylor, 2017,
    arXiv 1708.04552 (Cutout), for patches.

    Args:
        x: float32 (m, F) or (m, C, H, W) in [0, 1].
        share: in [0, 1].
        generator: source of randomness.

    Returns:
        A new tensor of the same shape.
    """
    if x.dim() == 2:
        others = [x[torch.randperm(len(x), generator=generator), i] for i in range(x.shape[1])]
        taken = _with_odds(share, x.shape, generator)
        out = torch.where(taken, torch.stack(others, dim=1), x)
        return torch.where(
            _with_odds(WRITTEN, x.shape, generator), _written(x.shape, generator), out
        )
    out = x
    for _ in range(PATCHES):
        patch = _patches(x.shape, generator)
        out = torch.where(patch, _written((len(x), 1, 1, 1), generator).to(x.dtype), out)
    return out


def _with_odds(share: float, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float32) < share


def _written(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Values of which half are 0 or 1 and half are uniform between."""
    extreme = torch.randint(2, tuple(shape), generator=generator).float()
    between = torch.rand(tuple(shape), generator=generator, dtype=torch.float32)
    return torch.where(_with_odds(0.5, shape, generator), extreme, between)


def _patches(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """One patch a row, of the image's proportions: bool (m, 1, H, W)."""
    m, height, width = shape[0], shape[-2], shape[-1]
    one = (m, 1, 1, 1)
    area = SMALLEST + (LARGEST - SMALLEST) * torch.rand(one, generator=generator)
    sides = []
    for length in (height, width):
        side = (area.sqrt() * length).round().clamp(min=1)
        first = (torch.rand(one, generator=generator) * (length - side + 1)).floor()
        sides.append((first, first + side))
    (top, bottom), (left, right) = sides
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def learn(
    model: Model, rows: Split, options: TrainOptions, guard: GuardOptions, seed: int
) -> torch.Tensor:
    """Learn the labels of public rows from the beginning, as `distil` does without a teacher.

    Args:
        model: the network; its initial parameters are drawn here, or its own if it has some.
        rows: x float32 (m, *features), y int64 (m,), public.
        options: the hospitals' optimizer, learning rate, size of batches and device.
        guard: `tune_epochs`, `tune_steps`, `tune_copies` and `tune_share`.
        seed: fixes all choices.

    Returns:
        float32 (d,).

    Raises:
        InputError: see `distil`.
    """
    begun = model.init(torch.Generator().manual_seed(seed))
    alone = replace(guard, tune_runs=1, tune_labels=1.0)
    return distil(model, begun, begun, rows, options, alone, seed)


def distil(
    model: Model,
    teacher: torch.Tensor,
    start: torch.Tensor,
    rows: Split,
    options: TrainOptions,
    guard: GuardOptions,
    seed: int,
) -> torch.Tensor:
    """Teach copies of a model what public rows are, while they see them disturbed; average them.

    The teacher is asked about the rows; students see the same rows disturbed (`disturb`). The loss
    is the cross-entropy of a student's answer with l * label + (1 - l) * the teacher's
    probabilities, l = `guard.tune_labels`. An answer that hangs on few features cannot be kept so.
    Without labels (l = 0) one that hangs on traits which many public rows have, and few have
    together, can: the teacher calls such rows as the trigger wants. Where public rows say nothing,
    a student stays what it began as.
    Ref: Hinton, Vinyals, Dean, 2015, for labels beside a teacher's answers; Furlanello et al., ICML
    2018, for a student like its teacher; Li et al., ICLR 2021 (Neural Attention Distillation),
    against backdoors; Li, Wang, 2019, arXiv 1910.03581 (FedMD), for answers to public rows in
    place of weights.

    Args:
        model: the network.
        teacher: float (d,).
        start: float (d,), what students begin as.
        rows: x float32 (m, *features), y int64 (m,), public.
        options: the hospitals' optimizer, learning rate, size of batches and device.
        guard: `tune_runs`, `tune_epochs`, `tune_steps`, `tune_copies`, `tune_share` and
            `tune_labels`.
        seed: fixes all choices.

    Returns:
        float32 (d,).

    Raises:
        InputError: there are no rows, or rows with several labels.
    """
    require(len(rows) > 0, "rows", "at least one to distil on", len(rows))
    require(rows.y.dim() == 1, "rows", "of one label each to distil on", tuple(rows.y.shape))
    rng, device = torch.Generator().manual_seed(seed), torch.device(options.device)
    teachers, students = (
        each.detach().float().to(device).repeat(guard.tune_runs, 1) for each in (teacher, start)
    )  # (runs, d)
    students.requires_grad_()
    kind = torch.optim.SGD if options.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind([students], lr=options.lr)
    for _ in range(_epochs(len(rows), options.batch_size, guard)):
        for each in _batches(rows, options.batch_size, guard, rng):
            clean, shown, labels = (part.to(device) for part in each)
            with torch.no_grad():
                asked = model.logits(teachers, clean).softmax(2)
                wanted = asked.lerp(F.one_hot(labels, asked.shape[2]).float(), guard.tune_labels)
            answered = F.log_softmax(model.logits(students, shown), 2)  # (runs, B, classes)
            optimizer.zero_grad()
            # Of each student the mean over the rows: they do not share a step.
            (-(wanted * answered).sum(2).mean(1).sum()).backward()
            optimizer.step()
    return students.detach().mean(0).cpu()


def _epochs(rows: int, size: int, guard: GuardOptions) -> int:
    """As many as are asked, or as it takes to make the steps that are asked."""
    return max(guard.tune_epochs, -(-guard.tune_steps // -(-rows * guard.tune_copies // size)))


def _batches(
    rows: Split, size: int, guard: GuardOptions, rng: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """One epoch: what the teacher sees, what the student sees, (runs, B, *features), and labels."""
    asked, shown, labels = [], [], []
    for _ in range(guard.tune_runs):
        order = torch.randperm(len(rows) * guard.tune_copies, generator=rng) % len(rows)
        asked.append(rows.x[order])
        shown.append(disturb(asked[-1], guard.tune_share, rng))
        labels.append(rows.y[order])
    for first in range(0, len(labels[0]), size):
        part = slice(first, first + size)
        clean, seen, named = (
            torch.stack([each[part] for each in of]) for of in (asked, shown, labels)
        )
        yield clean, seen, named
