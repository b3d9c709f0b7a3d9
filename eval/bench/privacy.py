"""What can be read out of one update, of the aggregate and of the model, with and without noise.

Membership is asked of models trained as the settings say. Rows are reconstructed in the case that
is best for the attacker: every hospital takes one full step of SGD on few rows, from the initial
model. One update is what a server without secure aggregation sees; the aggregate is what MPC opens;
the model is what everybody gets. Clip and noise are the hospitals' own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from rich.table import Table

from attacks.privacy import Membership, Opened, Reconstruction, load
from eval.metrics.privacy import reconstruction_error, true_positives_at
from eval.metrics.quality import auc
from secure_fl import seeds
from secure_fl.errors import require
from secure_fl.federation import Federation
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import clip_and_noise, train

# Allowed share of rows that are wrongly called members.
FALSE_POSITIVES = 0.01
UPDATE, AGGREGATE, MODEL = "one update", "aggregate", "final model"


@dataclass(frozen=True)
class Protection:
    """What hospitals do to their updates.

    Attributes:
        name: for tables.
        clip_norm: bound on their length, or None.
        sigma: standard deviation of noise on each coordinate.
    """

    name: str
    clip_norm: float | None = None
    sigma: float = 0.0


class Leak(NamedTuple):
    """What was learned from one thing that is opened.

    Attributes:
        opened: `one update`, `aggregate` or `final model`.
        protection: name of the hospitals' protection.
        error: of reconstructed rows (`eval.metrics.privacy.reconstruction_error`).
        auc: of the loss, members against others; calibrated by the start.
        found: share of members named at 1 % false positives, by the better of both.
    """

    opened: str
    protection: str
    error: float
    auc: float
    auc_calibrated: float
    found: float


def leaks(
    federation: Federation,
    options: TrainOptions,
    rounds: int,
    *,
    protections: tuple[Protection, ...],
    rows: int = 1,
    hospital: int = 0,
    seed: int = 0,
    inversion: Reconstruction | None = None,
) -> list[Leak]:
    """Attack what a federation opens.

    Args:
        federation: data, model and initial parameters.
        options: of local training, for membership.
        rounds: of averaging, for the final model.
        protections: to compare.
        rows: of each hospital in the step that is inverted.
        hospital: whose rows are asked for.
        seed: of all draws, noise included: this is a simulation.
        inversion: how rows are reconstructed; None: `gradient_inversion` as it ships.

    Raises:
        InputError: a hospital or a number of rows that is not there.
    """
    last = federation.hospitals - 1
    require(0 <= hospital <= last, "hospital", f"from 0 to {last}", hospital)
    most = min(len(split) for split in federation.data.hospitals)
    require(1 <= rows <= most, "rows", f"from 1 to {most}, the fewest of a hospital", rows)
    require(rounds >= 1, "rounds", ">= 1", rounds)
    if inversion is None:
        made = load("gradient_inversion")
        assert isinstance(made, Reconstruction)
        inversion = made
    found = []
    for protection in protections:
        stepped = single_steps(federation, rows, protection, seed)
        first, final = trained(federation, options, rounds, protection, seed)
        start = federation.initial
        changes = {
            UPDATE: (stepped[hospital], first[hospital], rows),
            AGGREGATE: (stepped.mean(dim=0), first.mean(dim=0), rows * len(stepped)),
            MODEL: (final - start, final - start, rows),
        }
        for name, (step, change, wanted) in changes.items():
            error = _error(federation, inversion, step, wanted, rows, hospital, seed)
            told = _membership(federation, change, hospital, seed)
            found.append(Leak(name, protection.name, error, *told))
    return found


def single_steps(
    federation: Federation, rows: int, protection: Protection, seed: int
) -> torch.Tensor:
    """Updates (n, d) of one full step of SGD on each hospital's first rows, protected."""
    splits = federation.data.hospitals
    x = torch.stack([split.x[:rows] for split in splits])
    y = torch.stack([split.y[:rows] for split in splits])
    params = federation.initial.expand(len(splits), -1)
    slopes = federation.model.gradients(params, x, y, torch.full(y.shape, 1 / rows))
    return _protected(-slopes, protection, seed, 0)


def trained(
    federation: Federation,
    options: TrainOptions,
    rounds: int,
    protection: Protection,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first round's updates (n, d) and the model (d,) after all, averaging, protected."""
    model, first = federation.initial, None
    for number in range(1, rounds + 1):
        updates = train(
            federation.model,
            model,
            federation.data.hospitals,
            options,
            [seeds.integer(seed, "training", number, i) for i in range(federation.hospitals)],
        )
        updates = _protected(updates, protection, seed, number)
        first = updates if first is None else first
        model = model + updates.mean(dim=0)
    assert first is not None
    return first, model


def _protected(updates: torch.Tensor, how: Protection, seed: int, number: int) -> torch.Tensor:
    keys = [
        hashlib.sha256(f"{seed} {number} {i}".encode()).digest()[:16] for i in range(len(updates))
    ]
    return clip_and_noise(updates, how.clip_norm, how.sigma, keys)


def _opened(federation: Federation, change: torch.Tensor, seed: int) -> Opened:
    rng = torch.Generator().manual_seed(seed)
    return Opened(federation.model, federation.initial, change, rng)


def _error(
    federation: Federation,
    inversion: Reconstruction,
    change: torch.Tensor,
    wanted: int,
    rows: int,
    hospital: int,
    seed: int,
) -> float:
    found = inversion.reconstruct(_opened(federation, change, seed), wanted)
    real = federation.data.hospitals[hospital].x[:rows]
    return reconstruction_error(found, real, federation.data.root.x.mean(dim=0))


def _membership(
    federation: Federation, change: torch.Tensor, hospital: int, seed: int
) -> Iterator[float]:
    """AUC of the loss, of the calibrated loss, and the better one's members found."""
    members, others = federation.data.hospitals[hospital], federation.data.test
    x, y = torch.cat([members.x, others.x]), torch.cat([members.y, others.y])
    truth = (torch.arange(len(y)) < len(members)).long()
    best: list[float] = []
    for calibrated in (False, True):
        attack = load("membership_inference", {"calibrated": calibrated})
        assert isinstance(attack, Membership)
        scores = attack.scores(_opened(federation, change, seed), x, y)
        split = scores[: len(members)], scores[len(members) :]
        best.append(true_positives_at(*split, FALSE_POSITIVES))
        yield auc(truth, scores)
    yield max(best)


def privacy_table(found: list[Leak]) -> Table:
    """The leaks as a table for the terminal."""
    table = Table(title="What can be read out of what is opened")
    heads = ("Opened", "Protection", "Rows' error", "AUC", "AUC, calibrated", "Members at 1 % FPR")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < 2 else "right")
    for leak in found:
        figures: tuple[Any, ...] = leak[2:]
        table.add_row(leak.opened, leak.protection, *(f"{value:.3f}" for value in figures))
    return table
