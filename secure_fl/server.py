"""The public part of a defence: a root direction before the aggregation, a new model after it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch

from secure_fl import seeds
from secure_fl.federation import Federation
from secure_fl.hospitals import TrainOptions, train
from secure_fl.schema import DefenceConfig
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

    def reference(self, model: torch.Tensor, number: int) -> torch.Tensor | None:
        """Public root direction (d,) for the rule, or None."""

    def step(
        self,
        model: torch.Tensor,
        result: AggregateResult,
        reference: torch.Tensor | None,
        number: int,
        state: Any,
    ) -> Step:
        """Make the next model out of the combined update."""

    def finish(self, model: torch.Tensor, state: Any) -> torch.Tensor:
        """Return the model to publish after the last round, (d,)."""


class AddingServer:
    """Adds the combined update to the model; trains a root direction where the rule wants one."""

    def __init__(
        self, federation: Federation, defence: DefenceConfig, options: TrainOptions, seed: int
    ) -> None:
        self.federation, self.options, self.seed = federation, options, seed
        self.wants_reference = defence.reference

    def init(self, model: torch.Tensor) -> Any:
        """No state."""
        return None

    def reference(self, model: torch.Tensor, number: int) -> torch.Tensor | None:
        """Train on the validators' public half from the same model, as a hospital would."""
        if not self.wants_reference:
            return None
        root = self.federation.data.root
        start = seeds.integer(self.seed, "guard", number)
        return train(self.federation.model, model, [root], self.options, [start])[0]

    def step(
        self,
        model: torch.Tensor,
        result: AggregateResult,
        reference: torch.Tensor | None,
        number: int,
        state: Any,
    ) -> Step:
        """Return model + update, added in float64 and rounded once."""
        return Step((model.double() + result.update).float(), None, False)

    def finish(self, model: torch.Tensor, state: Any) -> torch.Tensor:
        """Publish the last model as it is."""
        return model


def make_server(
    federation: Federation, defence: DefenceConfig, options: TrainOptions, seed: int
) -> Server:
    """Return the server that a defence's `validation` asks for."""
    return AddingServer(federation, defence, options, seed)
