"""A backdoor by attackers who know everything that the defence does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from attacks.backdoor import Backdoor
from attacks.base import AttackView, in_sight, require
from attacks.registry import attack

Through = Literal["rule", "server", "tuning"]


@attack
@dataclass(frozen=True)
class FullInformationBackdoor(Backdoor):
    """Try many ways to send a backdoor against the rule itself, and send what works best.

    A way is a turn and a length: v = l ((1 - t) m + t b) / ||.||, with m the direction of the
    honest mean, b that of the backdoored update, t in [0, 1] and l a multiple of the median honest
    length. Each is put through the rule in the clear, with the rule's own state, thresholds,
    reputations and root direction as of this round. What counts is the model that comes out: the
    mean log-probability of the target class on the attackers' own rows with the trigger, less
    `caution` times the share of the members that would be rejected, which costs reputation.
    After Fenaux et al., 2025, arXiv 2509.08089 (full knowledge of honest updates and defence); they
    follow gradients through the defence where this searches a grid.

    What the server does after the rule counts as `through` says: by default not at all; its damping
    and its choice of a step; or these for all ways, and its last tuning, as if this round were the
    last, for the `finalists` that score best without it.

    Attributes:
        through: how far a way is followed: the rule, the server's next model, or its tuning too.
        finalists: ways that are put through the tuning in a round, >= 1.
        turns: values of t that are tried, at least 2 from 0 to 1.
        lengths: multiples of the median honest length that are tried, > 0.
        caution: >= 0.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("honest", "rule", "server", "model", "reputations")
    turns: int = 5
    lengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    caution: float = 0.5
    through: Through = "rule"
    finalists: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.turns >= 2, "turns", ">= 2", self.turns)
        good = bool(self.lengths) and all(length > 0 for length in self.lengths)
        require(good, "lengths", "at least one, > 0", self.lengths)
        require(self.caution >= 0, "caution", ">= 0", self.caution)
        require(self.finalists >= 1, "finalists", ">= 1", self.finalists)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The best of the ways tried, each row turned by itself."""
        seen = in_sight(honest, own).double()
        tried = list(self._ways(seen, own.double()))
        first: Through = "rule" if self.through == "rule" else "server"
        best = self._best(tried, seen, first, view)
        if self.through == "tuning":
            best = self._best(best[: self.finalists], seen, "tuning", view)
        return best[0].to(own.dtype)

    def _best(
        self, tried: list[torch.Tensor], seen: torch.Tensor, through: Through, view: AttackView
    ) -> list[torch.Tensor]:
        """Ways tried, the best first; equal ones in the order given."""
        scores = [self.score(torch.cat([seen, rows]), len(rows), view, through) for rows in tried]
        order = sorted(range(len(tried)), key=scores.__getitem__, reverse=True)
        return [tried[index] for index in order]

    def _ways(self, seen: torch.Tensor, own: torch.Tensor) -> Iterator[torch.Tensor]:
        mean = normalize(seen.mean(dim=0), dim=0)
        backdoored = normalize(own, dim=1)
        middle = seen.norm(dim=1).quantile(0.5)
        for step in range(self.turns):
            turn = step / (self.turns - 1)
            direction = normalize((1 - turn) * mean + turn * backdoored, dim=1)
            for length in self.lengths:
                yield length * middle * direction

    def score(
        self, updates: torch.Tensor, members: int, view: AttackView, through: Through = "rule"
    ) -> float:
        """How well the trigger works on the model that would come out.

        Args:
            updates: float64 (n, d), honest ones first.
            members: how many of them are the attack's.
            view: of the round.
            through: of the rule, as the server goes on with it, or tuned as well.
        """
        outcome = view.simulate(updates)
        if through == "rule":
            model = (view.global_model.double() + outcome.update).float()
        else:
            made = view.candidate if through == "server" else view.publish
            model = made(outcome.update)
        x = torch.cat([rows for rows, _ in view.rows])[:256]
        triggered = self.current_trigger(x, view.memory).unsqueeze(0)
        with torch.no_grad():
            logits = view.network.logits(model.unsqueeze(0), triggered)[0]
        reached = float(F.log_softmax(logits, dim=1)[:, self.target_class].mean())
        rejected = float((~outcome.accepted[-members:]).double().mean())
        score = reached - self.caution * rejected
        return score if score == score else float("-inf")
