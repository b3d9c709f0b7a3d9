"""What the server of the `guarded` defence does in public, beside the aggregation under MPC.

The validators' data are public to the server: half A is a root data set that gives directions,
half B judges models. Per round:

1. `root_directions` trains on half A as a hospital would, once in full and on bootstrap samples.
2. The aggregation (elsewhere, under MPC) screens hospitals against the full root update, or one
   that was trained on both halves, and returns one aggregate.
3. `combine` damps the aggregate outside the span of the bootstrap updates and mixes in the root
   update.
4. `gate` takes the step along it that lowers the class-balanced loss on half B, or none, and
   stops after some rounds without gain.

After the last round the model is tuned on the public rows (`secure_fl.server.tuning`). All
functions are pure: state and seeds are passed in and returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from secure_fl.data.dataset import Split
from secure_fl.data.preprocessing import balance_classes
from secure_fl.errors import require
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import Model

# Upper limits of `GuardOptions`: root updates and step lengths of a round, and passes over public
# rows that the tuning makes, 160 by default.
MAX_BOOTSTRAPS, MAX_STEPS, MAX_PASSES = 1000, 100, 10_000
# What the tuning after the last round learns from: the root's labels, the model itself, or nothing.
TUNINGS = ("labels", "distillation", "none")
# Where a distillation begins: at the model of the rounds, or at one of the public labels alone.
STARTS = ("model", "public")
# Rows that give the direction which hospitals are screened against: half A, or both halves.
SCREENS = ("root", "public")


@dataclass(frozen=True)
class GuardOptions:
    """Parameters of the public part; all defaults were settled on SUPPORT2.

    Those of fine-tuning were compared on four partitions of the rows outside seed 0's test set.
    What decides on the work of a round or of the tuning has an upper limit, so that whoever is
    handed somebody's settings knows that measuring with them ends.

    Attributes:
        screen: rows that give the direction which hospitals are screened against: `root`, half A;
            `public`, both halves.
        bootstraps: root updates that span the trusted directions; 0 switches damping off.
        damping: factor on the part of the aggregate outside their span, in [0, 1].
        root_share: weight of the root update in the mix, in [0, 1].
        gate: take only steps that are a gain on half B; false: take each direction whole, and
            never stop early.
        steps: step lengths that the gate tries.
        patience: rounds without gain after which training stops.
        tuning: after the last round, `labels`: fine-tune on half A's labels; `distillation`: learn
            from both halves' labels and the model's own answers to their rows; `none`.
        tune_start: under `distillation`, what is tuned: `model`, that of the rounds; `public`, one
            that learned the labels of both halves alone, so that of the model of the rounds its
            answers to public rows count and nothing else.
        tune_runs: models that are tuned apart and averaged.
        tune_epochs: epochs of the tuning; 0 switches it off.
        tune_steps: under `distillation`, steps that a run takes at the least, in further epochs:
            few rows need as many steps as many rows do.
        tune_copies: differently changed copies of the public rows in an epoch.
        tune_share: share of the features that is overwritten in a row; under `distillation` the
            share of a table's values that come from other rows.
        tune_labels: under `distillation`, the weight of the labels; the model's own answers have
            the rest.
    """

    screen: str = "root"
    bootstraps: int = 20
    damping: float = 0.3
    root_share: float = 0.3
    gate: bool = True
    steps: tuple[float, ...] = (0.25, 0.5, 1.0)
    patience: int = 3
    tuning: str = "labels"
    tune_start: str = "model"
    tune_runs: int = 8
    tune_epochs: int = 5
    tune_steps: int = 0
    tune_copies: int = 4
    tune_share: float = 0.2
    tune_labels: float = 0.9

    def __post_init__(self) -> None:
        require(self.screen in SCREENS, "screen", f"one of {', '.join(SCREENS)}", self.screen)
        good = 0 <= self.bootstraps <= MAX_BOOTSTRAPS
        require(good, "bootstraps", f">= 0, at most {MAX_BOOTSTRAPS}", self.bootstraps)
        require(0 <= self.damping <= 1, "damping", "in [0, 1]", self.damping)
        require(0 <= self.root_share <= 1, "root_share", "in [0, 1]", self.root_share)
        positive = 0 < len(self.steps) <= MAX_STEPS and min(self.steps) > 0
        require(positive, "steps", f"1 to {MAX_STEPS}, each > 0", self.steps)
        require(self.patience >= 1, "patience", ">= 1", self.patience)
        require(self.tuning in TUNINGS, "tuning", f"one of {', '.join(TUNINGS)}", self.tuning)
        require(
            self.tune_start in STARTS, "tune_start", f"one of {', '.join(STARTS)}", self.tune_start
        )
        require(self.tune_runs >= 1, "tune_runs", ">= 1", self.tune_runs)
        require(self.tune_epochs >= 0, "tune_epochs", ">= 0", self.tune_epochs)
        require(self.tune_copies >= 1, "tune_copies", ">= 1", self.tune_copies)
        require(self.tune_steps >= 0, "tune_steps", ">= 0", self.tune_steps)
        # An epoch has one step at the least; a start of its own is one more run.
        runs, name = self.tune_runs, "tune_runs"
        if self.tune_start == "public":
            runs, name = runs + 1, "(tune_runs + 1)"
        longest = max(self.tune_epochs, self.tune_steps)
        what = "tune_steps" if self.tune_steps > self.tune_epochs else "tune_epochs"
        product, passes = f"{name} * {what} * tune_copies", runs * longest * self.tune_copies
        require(passes <= MAX_PASSES, product, f"at most {MAX_PASSES}", passes)
        most = max(self.tune_runs, self.tune_copies)
        require(most <= MAX_PASSES, "tune_runs, tune_copies", f"at most {MAX_PASSES} each", most)
        for name in ("tune_share", "tune_labels"):
            require(0 <= getattr(self, name) <= 1, name, "in [0, 1]", getattr(self, name))


@dataclass(frozen=True)
class RootDirections:
    """Updates trained on public rows.

    Attributes:
        update: of all of half A, (d,).
        bootstraps: of its bootstrap samples, (b, d).
        reference: that the rule compares hospitals with, (d,).
    """

    update: torch.Tensor
    bootstraps: torch.Tensor
    reference: torch.Tensor


def root_directions(
    model: Model,
    start: torch.Tensor,
    root: Split,
    options: TrainOptions,
    bootstraps: int,
    seed: int,
    compared: Split | None = None,
) -> RootDirections:
    """Train on public rows as a hospital trains: half A in full and in samples, all at once.

    Args:
        model: the network.
        start: float (d,), the global model.
        root: half A; classes are balanced here, unless rows have several labels.
        options: the hospitals' options.
        bootstraps: number b of samples with replacement, each of the size of half A.
        seed: fixes samples and batches; give a new one each round.
        compared: rows that the rule's reference is trained on; None for half A, as it is.
    """
    rng = torch.Generator().manual_seed(seed)
    splits = [root]
    for _ in range(bootstraps):
        rows = torch.randint(len(root), (len(root),), generator=rng)
        splits.append(Split(root.x[rows], root.y[rows]))
    if compared is not None:
        splits.append(compared)
    if root.y.dim() == 1:
        splits = [balance_classes(split, rng) for split in splits]
    seeds = [seed + 1 + i for i in range(len(splits))]
    updates = train(model, start, splits, options, seeds)
    reference = updates[0] if compared is None else updates[-1]
    return RootDirections(updates[0], updates[1 : bootstraps + 1], reference)


def combine(
    aggregate: torch.Tensor, root: RootDirections, damping: float, root_share: float
) -> torch.Tensor:
    """The round's direction: (1 - s) * damped aggregate + s * root update.

    The aggregate's part outside the span of the bootstrap updates is multiplied by `damping`.
    Without bootstrap updates it stays whole.

    Args:
        aggregate: float (d,).
        root: updates of half A.
        damping: in [0, 1].
        root_share: s in [0, 1].

    Returns:
        float (d,), in the dtype of the root update.
    """
    vector = aggregate.to(root.update.dtype)
    if len(root.bootstraps):
        inside = project(vector, root.bootstraps)
        vector = inside + damping * (vector - inside)
    return (1 - root_share) * vector + root_share * root.update


def project(vector: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Orthogonal projection of (d,) on the span of the rows (b, d), computed in float64."""
    _, values, basis = torch.linalg.svd(rows.double(), full_matrices=False)
    basis = basis[values > values.max() * 1e-9]  # (rank, d)
    return (basis.mT @ (basis @ vector.double())).to(vector.dtype)


def balanced_loss(model: Model, params: torch.Tensor, split: Split) -> float:
    """Mean over the classes present of the mean cross-entropy within the class, in nats.

    With it, a model that gives up the rare class cannot pass by serving the frequent one.
    """
    return _balanced_losses(model, params.unsqueeze(0), split)[0]


@torch.no_grad()
def _balanced_losses(model: Model, params: torch.Tensor, split: Split) -> list[float]:
    """Balanced loss of each of (k, d) candidates."""
    x = split.x.unsqueeze(0).expand(len(params), *split.x.shape)
    out = model.logits(params.float(), x)  # (k, m, classes)
    y = split.y.expand(len(params), -1)
    # In float64 before the logarithm: float32 loses what tells nearly equal candidates apart.
    losses = F.cross_entropy(out.double().mT, y, reduction="none")  # (k, m)
    present = split.y.unique()
    return torch.stack([losses[:, split.y == c].mean(1) for c in present]).mean(0).tolist()


@dataclass(frozen=True)
class GateState:
    """Where the gate stands.

    Attributes:
        params: float32 (d,), the best model so far, which is also the current one.
        loss: its balanced loss on half B.
        stale: rounds since the last gain.
    """

    params: torch.Tensor
    loss: float
    stale: int = 0

    def finished(self, patience: int) -> bool:
        """Whether there were `patience` rounds in a row without gain."""
        return self.stale >= patience


def open_gate(model: Model, params: torch.Tensor, holdout: Split) -> GateState:
    """The gate before the first round."""
    return GateState(params.float(), balanced_loss(model, params, holdout))


def gate(
    model: Model,
    state: GateState,
    direction: torch.Tensor,
    holdout: Split,
    steps: tuple[float, ...] = GuardOptions.steps,
) -> tuple[GateState, float]:
    """Take the step along `direction` with the lowest balanced loss on half B, if it is a gain.

    The current model is always the best so far, since only gains are taken.

    Args:
        model: the network.
        state: from `open_gate` or the last call.
        direction: float (d,).
        holdout: half B.
        steps: step lengths to try.

    Returns:
        The new state and the length of the step, 0 if none was taken.
    """
    lengths = torch.tensor(steps, dtype=torch.float32)
    candidates = state.params + lengths.unsqueeze(1) * direction.float()  # (k, d)
    losses = _balanced_losses(model, candidates, holdout)
    best = min(range(len(losses)), key=losses.__getitem__)
    if not losses[best] < state.loss:  # also when the loss is NaN
        return replace(state, stale=state.stale + 1), 0.0
    return GateState(candidates[best].clone(), losses[best]), steps[best]
