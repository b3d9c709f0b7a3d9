"""Judge the models of a cell: quality on the test rows, and how far the attack got.

All models are treated alike: the decision threshold makes the share of positive answers on the
validators' root rows equal to their prevalence, so an attack does not "fail" merely because an
uncalibrated model answers differently. The clean model of the same defence, trained on the same
random numbers, gives the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks import Attack
from eval import metrics
from secure_fl.federation import Federation
from secure_fl.simulation.folder import model_path, read_model


@dataclass(frozen=True)
class Judge:
    """Evaluates models of one cell.

    Attributes:
        federation: data and model.
        attack: the attack of the cell, `none` included.
        clean: folder of the same defence's clean cell; None for the clean cell itself.
    """

    federation: Federation
    attack: Attack
    clean: Path | None = None

    def threshold(self, model: torch.Tensor) -> float:
        """Log-odds above which a case counts as positive; fitted on the root rows alone."""
        root = self.federation.data.root
        scores = metrics.log_odds(self.federation.logits(model, root.x))
        return metrics.prevalence_threshold(scores, float(root.y.float().mean()))

    def quality(self, model: torch.Tensor) -> metrics.Classification:
        """Quality on the test rows."""
        test = self.federation.data.test
        scores = metrics.log_odds(self.federation.logits(model, test.x))
        return metrics.classification(test.y, scores, self.threshold(model))

    def predictions(self, model: torch.Tensor) -> np.ndarray:
        """Predictions on the test rows, with the trigger applied if the attack has one: (m,)."""
        x = self.federation.data.test.x
        trigger = getattr(self.attack, "trigger", None)  # a backdoor's alone
        if trigger is not None:
            x = trigger(x)
        scores = metrics.log_odds(self.federation.logits(model, x))
        return metrics.predict(scores, self.threshold(model))

    def success(
        self, model: torch.Tensor, round_number: int | None = None
    ) -> metrics.AttackSuccess | None:
        """Attack success over the clean model of the same round, by default over the final one.

        None without an attack. Where the clean run stopped earlier, its final model counts.
        """
        if self.clean is None:
            return None
        path = self.clean / "models" / "final.npy"
        if round_number is not None and model_path(self.clean, round_number).exists():
            path = model_path(self.clean, round_number)
        clean = read_model(path)
        return metrics.attack_success(
            self.attack.objective,
            self.federation.data.test.y,
            self.predictions(model),
            self.predictions(clean),
            source_class=getattr(self.attack, "source_class", None),
            target_class=getattr(self.attack, "target_class", None),
        )

    def observe(self, round_number: int, model: torch.Tensor) -> dict[str, Any]:
        """What a round's row says of the test rows; the federation itself never sees it."""
        success = self.success(model, round_number) if round_number else None
        return {
            "test_accuracy": self.quality(model).accuracy,
            "attack_success": None if success is None else success.raw,
        }
