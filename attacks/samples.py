"""Small made-up rounds, on which attacks are checked and tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from attacks.base import Attack
from attacks.memory import checked
from attacks.view import AttackView, Outcome, knowledge_of, told

CLASSES = 2


class Linear:
    """Logistic regression on flattened rows, a network as `attacks.view.Network` asks for.

    Args:
        feature_shape: of a row.
    """

    def __init__(self, feature_shape: tuple[int, ...]) -> None:
        self.feature_shape, self.classes = feature_shape, CLASSES
        self.shapes: tuple[tuple[int, ...], ...] = (
            (math.prod(feature_shape), CLASSES),
            (CLASSES,),
        )

    @property
    def num_parameters(self) -> int:
        """Length d of the parameter vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    def logits(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, B, classes) of networks (n, d) on a batch each."""
        weight = params[:, :-CLASSES].unflatten(1, self.shapes[0])
        return x.flatten(2) @ weight + params[:, -CLASSES:].unsqueeze(1)

    def hidden(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The rows themselves, (n, B, features): there is no layer before the last."""
        return x.flatten(2)

    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Gradients (n, d) of the weighted cross-entropies, weights (n, B)."""
        leaf = params.detach().requires_grad_()
        losses = F.cross_entropy(self.logits(leaf, x).flatten(0, 1), y.flatten(), reduction="none")
        (gradient,) = torch.autograd.grad((losses * weight.flatten()).sum(), leaf)
        return gradient


def sample_updates(rows: int, d: int, seed: int = 0) -> torch.Tensor:
    """Random updates (rows, d) around a common direction."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rows, d, generator=rng, dtype=torch.float32) + torch.randn(
        1, d, generator=rng, dtype=torch.float32
    )


def sample_rows(
    shape: tuple[int, ...], m: int = 40, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rows x in [0, 1], (m, *shape), and labels 0 and 1."""
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(m, *shape, generator=rng, dtype=torch.float32), torch.randint(
        CLASSES, (m,), generator=rng
    )


def sample_view(
    n: int,
    f: int,
    d: int,
    seed: int = 0,
    attack: Attack | None = None,
    simulate: Callable[[torch.Tensor], Outcome] | None = None,
    **changes: Any,
) -> AttackView:
    """A view as a round would give it, of a linear model whose parameters are d.

    Args:
        n: hospitals that take part.
        f: of them the attack's.
        d: even, at least 4; rows have d / 2 - 1 features, unless `changes` has facts.
        seed: of `rng`.
        attack: whose view; None: one that knows everything.
        simulate: the rule; default: the mean, which rejects nobody.
        changes: further fields of the view.
    """
    shape = (max(d // CLASSES - 1, 1),)
    rng = torch.Generator().manual_seed(seed)
    facts = sample_facts(n, f, d, shape, simulate or _mean)
    known = frozenset(_ALL) if attack is None else knowledge_of(attack.knowledge)
    view = AttackView(
        round=3,
        num_hospitals=n,
        num_malicious=f,
        rng=rng,
        clip_norm=1.0,
        members=tuple(range(f)),
        rows=tuple(sample_rows(shape, seed=i) for i in range(f)),
        attack="sample" if attack is None else type(attack).__name__,
        facts=told(known, facts),
    )
    return replace(view, **changes)


_ALL = ("honest", "rule", "server", "model", "reputations", "previous", "benign", "auxiliary")


def sample_facts(
    n: int,
    f: int,
    d: int,
    shape: tuple[int, ...],
    simulate: Callable[[torch.Tensor], Outcome],
) -> Mapping[str, Callable[[], Any]]:
    """All facts of a made-up round."""
    model = torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    return {
        "global_model": model.clone,
        "network": lambda: Linear(shape),
        "defence": lambda: "median",
        "rule": lambda: {"max_abs": 1.0, "stages": [{"coordinate_median": {}}]},
        "limit": lambda: 1.0,
        "simulate": lambda: simulate,
        "candidate": lambda: lambda update: (model.double() + update).float(),
        "publish": lambda: lambda update: (model.double() + update).float(),
        "reputation": lambda: torch.full((n,), 0.9, dtype=torch.float64),
        "suspended": lambda: torch.zeros(n, dtype=torch.bool),
        "accepted": lambda: [True] * n,
        "previous_update": lambda: sample_updates(1, d, seed=2)[0].double() / 10,
        "benign": lambda: sample_updates(f, d, seed=3),
        "auxiliary": lambda: sample_rows(shape, seed=50),
    }


def _mean(updates: torch.Tensor) -> Outcome:
    return Outcome(updates.double().mean(dim=0), torch.ones(len(updates), dtype=torch.bool))


def awake(attack: Attack, view: AttackView) -> AttackView:
    """The view with what an attack remembers once its first round has begun."""
    memory = checked(attack.init(view), view.attack)
    return replace(view, memory=checked(attack.prepare(replace(view, memory=memory)), view.attack))


def rows_of(sent: Any) -> torch.Tensor:
    """The rows of what `craft` returned."""
    rows: torch.Tensor = sent[0] if isinstance(sent, tuple) else sent
    return rows


def members(count: int) -> Sequence[int]:
    """Ranks to try of so many members: first, middle and last."""
    return sorted({0, count // 2, count - 1})
