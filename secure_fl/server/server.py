"""The public part of a defence: root directions before the aggregation, a new model after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from secure_fl import seeds
from secure_fl.data.dataset import Split, concatenate
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.hospital.options import TrainOptions
from secure_fl.models import Model
from secure_fl.server.guard import (
    GateState,
    GuardOptions,
    RootDirections,
    combine,
    gate,
    open_gate,
    root_directions,
)
from secure_fl.server.tuning import begin, tune
from secure_fl.types import AggregateResult


class Step(NamedTuple):
    """A server's answer to an aggregation.

    Attributes:
        candidate: float32 (d,), the model that validators test next.
        state: the server's state for the next round.
        stopped: whether more rounds promise nothing.
    """

    candidate: torch.Tensor
    state: Any
    stopped: bool


class Server(Protocol):
    """What a server does with public values; its state is passed in and returned."""

    def init(self, model: torch.Tensor) -> Any:
        """State before the first round."""

    def directions(self, model: torch.Tensor, number: int) -> RootDirections | None:
        """Directions trained on the public root, for the rule and for `step`; or None."""

    def step(
        self,
        model: torch.Tensor,
        result: AggregateResult,
        root: RootDirections | None,
        state: Any,
    ) -> Step:
        """Make the next model out of the combined update."""

    def finish(self, model: torch.Tensor, state: Any) -> torch.Tensor:
        """Return the model to publish after the last round, (d,)."""

    def begins(self, model: torch.Tensor) -> torch.Tensor:
        """Return what `finish` sets out from, float32 (d,): how far it goes is told from there."""


class AddingServer:
    """Adds the combined update to the model; trains a root direction where the rule wants one."""

    def __init__(
        self, federation: Federation, options: TrainOptions, seed: int, reference: bool = False
    ) -> None:
        self.federation, self.options, self.seed = federation, options, seed
        self.wants_reference = reference
        self.bootstraps = 0
        self.compared: Split | None = None

    def init(self, model: torch.Tensor) -> Any:
        """No state."""
        return None

    def directions(self, model: torch.Tensor, number: int) -> RootDirections | None:
        """Train on the validators' public half from the same model, as a hospital would.

        Raises:
            InputError: the training diverged, so that there is no direction.
        """
        if not self.wants_reference:
            return None
        root = root_directions(
            self.federation.model,
            model,
            self.federation.data.root,
            self.options,
            self.bootstraps,
            seeds.integer(self.seed, "guard", number),
            self.compared,
        )
        if not all(
            part.isfinite().all() for part in (root.update, root.bootstraps, root.reference)
        ):
            raise InputError(
                f"training on the validators' public half diverged in round {number}: lower "
                f"train.lr; got {self.options.lr:g}"
            )
        return root

    def step(
        self,
        model: torch.Tensor,
        result: AggregateResult,
        root: RootDirections | None,
        state: Any,
    ) -> Step:
        """Return model + update, added in float64 and rounded once."""
        return Step((model.double() + result.update).float(), None, False)

    def finish(self, model: torch.Tensor, state: Any) -> torch.Tensor:
        """Publish the last model as it is."""
        return model

    def begins(self, model: torch.Tensor) -> torch.Tensor:
        """What `finish` sets out from: the last model."""
        return model


class GuardedServer(AddingServer):
    """Damps, mixes with the root's direction, searches the step on half B, stops early, tunes."""

    def __init__(
        self, federation: Federation, options: TrainOptions, seed: int, guard: GuardOptions
    ) -> None:
        super().__init__(federation, options, seed, reference=True)
        self.guard, self.bootstraps = guard, guard.bootstraps
        if guard.screen == "public":
            self.compared = concatenate([federation.data.root, federation.data.holdout])

    def init(self, model: torch.Tensor) -> GateState:
        """The gate before the first round."""
        return open_gate(self.federation.model, model, self.federation.data.holdout)

    def step(
        self,
        model: torch.Tensor,
        result: AggregateResult,
        root: RootDirections | None,
        state: GateState,
    ) -> Step:
        """Take the best step along the combined direction, or none; without a gate all of it."""
        if root is None:
            raise ValueError("the guarded server needs the root's directions; got None")
        network, holdout = self.federation.model, self.federation.data.holdout
        if self.guard.gate and not torch.equal(
            state.params, model
        ):  # the chain rolled the gate's model back
            state = replace(open_gate(network, model, holdout), stale=state.stale + 1)
        direction = combine(result.update, root, self.guard.damping, self.guard.root_share)
        if not self.guard.gate:
            candidate = (model.double() + direction).float()
            return Step(candidate, replace(state, params=candidate), False)
        following, _ = gate(network, state, direction, holdout, self.guard.steps)
        return Step(following.params, following, following.finished(self.guard.patience))

    def finish(self, model: torch.Tensor, state: GateState) -> torch.Tensor:
        """Tune on the public rows (`secure_fl.server.tuning`)."""
        return tune(*self._tuning(model))

    def begins(self, model: torch.Tensor) -> torch.Tensor:
        """What the tuning sets out from (`secure_fl.server.tuning.begin`)."""
        return begin(*self._tuning(model))

    def _tuning(
        self, model: torch.Tensor
    ) -> tuple[Model, torch.Tensor, Split, Split, TrainOptions, GuardOptions, int]:
        """What `tune` and `begin` are given."""
        data, seed = self.federation.data, seeds.integer(self.seed, "guard", 0)
        return self.federation.model, model, data.root, data.holdout, self.options, self.guard, seed
