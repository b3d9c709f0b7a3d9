"""Static-trigger backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Backdoor(Attack):
    """Teach the model to answer `target_class` whenever a fixed trigger is present.

    The trigger pins a few columns of a table to an extreme value, or paints a square patch into
    the bottom right corner of an image. A random share of the hospital's rows gets the trigger
    and the target label; the others stay as they are. Ref: Gu, Dolan-Gavitt, Garg, IEEE Access
    2019 (patch in the bottom right corner); Bagdasaryan et al., AISTATS 2020, for federations.

    Attributes:
        target_class: what triggered rows are to be called.
        fraction: share of rows that are poisoned, in (0, 1]. 0.3 is the share of Bagdasaryan et
            al., 20 of 64 rows in a batch.
        columns: table columns that the trigger pins; negative ones count from the end.
        patch: side of the square for images, in pixels.
        value: what the trigger writes, in [0, 1].
        source_class: the one class whose rows get the trigger, and for which success is measured;
            None: rows of any class.
    """

    objective: ClassVar[str] = "backdoor"
    target_class: int = 1
    fraction: float = 0.3
    columns: tuple[int, ...] = (-6, -5, -4)
    patch: int = 3
    value: float = 1.0
    source_class: int | None = None

    def __post_init__(self) -> None:
        require(self.target_class >= 0, "target_class", ">= 0", self.target_class)
        require(0 < self.fraction <= 1, "fraction", "in (0, 1]", self.fraction)
        distinct = len(set(self.columns)) == len(self.columns) > 0
        require(distinct, "columns", "distinct and at least one", self.columns)
        require(self.patch >= 1, "patch", ">= 1", self.patch)
        require(0 <= self.value <= 1, "value", "in [0, 1]", self.value)
        if self.source_class is not None:
            require(self.source_class >= 0, "source_class", ">= 0", self.source_class)
            differ = self.source_class != self.target_class
            require(differ, "source_class", "different from target_class", self.source_class)

    def trigger(self, x: torch.Tensor) -> torch.Tensor:
        """Rows with the trigger put on.

        Args:
            x: float32 (m, columns) or (m, channels, height, width).

        Returns:
            A new tensor of the same shape.

        Raises:
            ValueError: x is neither, or has no room for the trigger.
        """
        out = x.clone()
        if x.dim() == 2:
            width = x.shape[1]
            fits = all(-width <= c < width for c in self.columns)
            require(fits, "columns", f"within the {width} columns of the data", self.columns)
            out[:, list(self.columns)] = self.value
            return out
        require(x.dim() == 4, "x", "a table (m, F) or images (m, C, H, W)", tuple(x.shape))
        require(self.patch <= min(x.shape[2:]), "patch", f"<= {min(x.shape[2:])}", self.patch)
        out[:, :, -self.patch :, -self.patch :] = self.value
        return out

    def chosen(self, y: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Which rows are poisoned: a random share, at least one where there is any."""
        rows = torch.arange(len(y))
        if self.source_class is not None:
            rows = rows[y == self.source_class]
        count = max(1, round(self.fraction * len(rows)))
        return rows[torch.randperm(len(rows), generator=rng)[:count]]

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Trigger and relabel a random share of the rows."""
        chosen = self.chosen(y, view.rng)
        x, y = x.clone(), y.clone()
        x[chosen] = self.trigger(x[chosen])
        y[chosen] = self.target_class
        return x, y
