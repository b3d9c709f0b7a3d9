"""What can be read out of one update, of the aggregate and of the model, and what each layer buys.

One update is what a server without secure aggregation sees; the aggregate is what MPC opens; the
model is what everybody gets. Clip and noise are the hospitals' own. All hospitals are honest.

Membership: each hospital's rows are cut in two at random, and it trains on one half only, so that
members and others are alike in everything else. Federations are trained in pairs, on one half and
on the other; each is attacked in turn, with all but its pair as the attacker's shadow models. So
half of the shadows trained on any row, and half did not. The attacker knows everything but the
halves. One update and the aggregate are those of the first round; the final model is that after
all rounds.

Reconstruction: in the case that is best for the attacker, where every hospital takes one full step
of SGD on few rows, from the initial model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from attacks.privacy import Membership, Opened, Reconstruction, Shadows, load
from eval import metrics
from eval.metrics.privacy import Estimate, Told, median_error, row_errors, told
from secure_fl import data, seeds
from secure_fl.data import Split
from secure_fl.errors import require
from secure_fl.federation import Federation
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.privacy import DELTA, epsilon
from secure_fl.hospital.training import clip_and_noise, train

UPDATE, AGGREGATE, MODEL = "one update", "aggregate", "final model"
# Allowed shares of rows that are wrongly called members.
RATES = (0.001, 0.01)
# Attacks on membership, by the name they have in tables.
MEMBERSHIP = {
    "loss": ("membership_inference", {"calibrated": False}),
    "calibrated loss": ("membership_inference", {"calibrated": True}),
    "likelihood ratio": ("likelihood_ratio", {}),
}


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


@dataclass(frozen=True)
class Plan:
    """How much is trained and attacked.

    Attributes:
        options: of local training.
        rounds: of averaging, for the final model.
        balance: whether hospitals repeat rows of rarer classes, as in a run.
        shadows: of the attacker, for each federation that is attacked; even, >= 4.
        rows: of each hospital in the step that is inverted.
        seed: of all draws, noise included: this is a simulation.
        inversion: parameters of `gradient_inversion`.
    """

    options: TrainOptions
    rounds: int
    balance: bool = True
    shadows: int = 8
    rows: int = 1
    seed: int = 0
    inversion: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", ">= 1", self.rounds)
        good = self.shadows >= 4 and self.shadows % 2 == 0
        require(good, "shadows", "even and at least 4", self.shadows)


class Leak(NamedTuple):
    """What was learned from one thing that is opened.

    Attributes:
        opened: `one update`, `aggregate` or `final model`.
        protection: of the hospitals.
        epsilon: budget of one hospital's rows against who sees this, at `DELTA`.
        epsilon_rounds: the same after all rounds, all of whose updates (or aggregates) are seen.
        error: median error of reconstructed rows (`eval.metrics.privacy.row_errors`).
        membership: by attack, how well members were told (`MEMBERSHIP`, `RATES`).
        model_auc: AUC of the final models on the test rows, their mean: what the protection costs.
    """

    opened: str
    protection: Protection
    epsilon: float
    epsilon_rounds: float
    error: Estimate
    membership: dict[str, Told]
    model_auc: float


class Trained(NamedTuple):
    """One federation: first updates (n, d), final model's way (d,), members (m,) a hospital."""

    first: torch.Tensor
    change: torch.Tensor
    held: list[torch.Tensor]


def leaks(federation: Federation, plan: Plan, protections: Sequence[Protection]) -> Iterator[Leak]:
    """Attack what a federation opens, one protection after another.

    Args:
        federation: data, model and initial parameters; its hospitals' rows are all distinct.
        plan: how much.
        protections: to compare.

    Raises:
        InputError: data with several labels a row, more rows to invert than a hospital has, or a
            hospital with a single row.
    """
    require(not federation.data.multilabel, "data", "of one class a row", "several labels a row")
    sizes = [len(split) for split in federation.data.hospitals]
    require(min(sizes) >= 2, "rows of a hospital", "at least 2, to be cut in two", min(sizes))
    rule = f"from 1 to {min(sizes)}, the fewest of a hospital"
    require(1 <= plan.rows <= min(sizes), "rows", rule, plan.rows)
    for protection in protections:
        stepped = single_steps(federation, plan.rows, protection, plan.seed)
        trained = federations(federation, plan, protection)
        quality = float(np.mean([_auc(federation, each.change) for each in trained]))
        for opened in (UPDATE, AGGREGATE, MODEL):
            yield Leak(
                opened,
                protection,
                *budgets(opened, protection, federation.hospitals, plan.rounds),
                _error(federation, plan, opened, stepped, trained[0].change),
                _membership(federation, opened, trained),
                quality,
            )


def budgets(
    opened: str, protection: Protection, hospitals: int, rounds: int
) -> tuple[float, float]:
    """Epsilon of one hospital's rows: against who sees this once, and in all rounds.

    The aggregate carries the noise of all hospitals, who are all honest here; the final model is
    made of all aggregates.
    """
    if protection.clip_norm is None:
        return float("inf"), float("inf")
    noises = 1 if opened == UPDATE else hospitals
    seen = rounds if opened == MODEL else 1
    once, all_rounds = (
        epsilon(protection.clip_norm, protection.sigma, [noises] * count, DELTA)
        for count in (seen, rounds)
    )
    return once, all_rounds


def single_steps(
    federation: Federation, rows: int, protection: Protection, seed: int
) -> torch.Tensor:
    """Updates (n, d) of one full step of SGD on each hospital's first rows, protected."""
    splits = federation.data.hospitals
    x = torch.stack([split.x[:rows] for split in splits])
    y = torch.stack([split.y[:rows] for split in splits])
    params = federation.initial.expand(len(splits), -1)
    slopes = federation.model.gradients(params, x, y, torch.full(y.shape, 1 / rows))
    return _protected(-slopes, protection, f"{seed} step")


def federations(federation: Federation, plan: Plan, protection: Protection) -> list[Trained]:
    """Train the pairs: two more federations than one of them has shadows."""
    splits = federation.data.hospitals
    made = []
    for pair in range(plan.shadows // 2 + 1):
        rng = seeds.numpy_generator(plan.seed, "rows", pair)
        halves = [
            torch.from_numpy(rng.permutation(len(split)) < len(split) // 2) for split in splits
        ]
        for place, held in enumerate((halves, [~half for half in halves])):
            made.append(_trained(federation, plan, protection, held, 2 * pair + place))
    return made


def _trained(
    federation: Federation,
    plan: Plan,
    protection: Protection,
    held: list[torch.Tensor],
    number: int,
) -> Trained:
    """Average updates of hospitals that train on the rows they hold; `number` fixes the draws."""
    seed = plan.seed
    splits = []
    for i, (split, mask) in enumerate(zip(federation.data.hospitals, held, strict=True)):
        own = Split(split.x[mask], split.y[mask])
        rng = seeds.torch_generator(seed, "balance", i, number)
        splits.append(data.balance_classes(own, rng) if plan.balance else own)
    model, first = federation.initial, None
    for turn in range(1, plan.rounds + 1):
        keys = [seeds.integer(seed, "training", turn, i, number) for i in range(len(splits))]
        updates = train(federation.model, model, splits, plan.options, keys)
        updates = _protected(updates, protection, f"{seed} {number} {turn}")
        first = updates if first is None else first
        model = model + updates.mean(dim=0)
    assert first is not None
    return Trained(first, model - federation.initial, held)


def _protected(updates: torch.Tensor, how: Protection, place: str) -> torch.Tensor:
    keys = [hashlib.sha256(f"{place} {i}".encode()).digest()[:16] for i in range(len(updates))]
    return clip_and_noise(updates, how.clip_norm, how.sigma, keys)


def _auc(federation: Federation, change: torch.Tensor) -> float:
    data, model = federation.data, federation.initial + change
    calibration = metrics.calibrate(federation.logits(model, data.root.x), data.root.y)
    return metrics.quality(data.test.y, federation.logits(model, data.test.x), calibration).auc


def _opened(
    federation: Federation, change: torch.Tensor, seed: int, shadows: Shadows | None = None
) -> Opened:
    rng = torch.Generator().manual_seed(seed)
    return Opened(federation.model, federation.initial, change, rng, shadows)


def _error(
    federation: Federation, plan: Plan, opened: str, stepped: torch.Tensor, way: torch.Tensor
) -> Estimate:
    """Error of all hospitals' rows; out of the aggregate or the model all are asked for at once."""
    inversion = load("gradient_inversion", plan.inversion)
    assert isinstance(inversion, Reconstruction)
    real = torch.stack([split.x[: plan.rows] for split in federation.data.hospitals])
    guess = federation.data.root.x.mean(dim=0)
    if opened == UPDATE:
        return median_error(
            np.concatenate(
                [
                    row_errors(
                        inversion.reconstruct(_opened(federation, step, plan.seed), plan.rows),
                        rows,
                        guess,
                    )
                    for step, rows in zip(stepped, real, strict=True)
                ]
            )
        )
    change = stepped.mean(dim=0) if opened == AGGREGATE else way
    everybody = real.flatten(0, 1)
    found = inversion.reconstruct(_opened(federation, change, plan.seed), len(everybody))
    return median_error(row_errors(found, everybody, guess))


def _membership(federation: Federation, opened: str, trained: list[Trained]) -> dict[str, Told]:
    """Attack each federation, with all but its pair as shadows; scores of all count together."""
    scores: dict[str, list[torch.Tensor]] = {name: [] for name in MEMBERSHIP}
    truth, owners = [], []
    splits = federation.data.hospitals
    groups = [[i] for i in range(len(splits))] if opened == UPDATE else [list(range(len(splits)))]
    for place, target in enumerate(trained):
        others = [each for k, each in enumerate(trained) if k // 2 != place // 2]
        for group in groups:
            seen = [_change(each, opened, group) for each in (target, *others)]
            held = torch.stack(
                [torch.cat([each.held[i] for i in group]) for each in (target, *others)]
            )
            x = torch.cat([splits[i].x for i in group])
            y = torch.cat([splits[i].y for i in group])
            shadows = Shadows(torch.stack(seen[1:]), held[1:])
            for name, (attack, params) in MEMBERSHIP.items():
                made = load(attack, params)
                assert isinstance(made, Membership)
                scores[name].append(made.scores(_opened(federation, seen[0], place, shadows), x, y))
            truth.append(held[0])
            owners += [i for i in group for _ in range(len(splits[i]))]
    members = torch.cat(truth)
    return {name: told(torch.cat(each), members, owners, RATES) for name, each in scores.items()}


def _change(trained: Trained, opened: str, group: list[int]) -> torch.Tensor:
    """What is seen of a federation: the group's mean update, or the way to the final model."""
    return trained.change if opened == MODEL else trained.first[group].mean(dim=0)
