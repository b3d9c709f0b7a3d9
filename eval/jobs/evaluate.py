"""Judge the models of a cell: quality on the test rows, and how far the attack got.

All models are treated alike: calibrated so that on the validators' root rows each class is named as
often as it occurs, so an attack does not "fail" merely because an uncalibrated model answers
differently. The clean model of the same defence, trained on the same
random numbers, gives the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks import Attack
from attacks.memory import Memory
from eval import metrics
from secure_fl.federation import Federation
from secure_fl.simulation.folder import model_path, read_model
from secure_fl.simulation.labels import seen


@dataclass(frozen=True)
class Judge:
    """Evaluates models of one cell.

    Attributes:
        federation: data and model.
        attack: the attack of the cell, `none` included.
        clean: folder of the same defence's clean cell; None for the clean cell itself.
        label: that the attack is after, of rows with several: success is measured on it.
    """

    federation: Federation
    attack: Attack
    clean: Path | None = None
    label: int | None = None

    def calibration(self, model: torch.Tensor) -> metrics.Calibration | metrics.LabelThresholds:
        """How the model is calibrated; fitted on the root rows alone."""
        root = self.federation.data.root
        logits = self.federation.logits(model, root.x)
        if self.federation.data.multilabel:
            return metrics.calibrate_labels(logits, root.y)
        return metrics.calibrate(logits, root.y)

    def quality(self, model: torch.Tensor) -> metrics.Classification:
        """Quality on the test rows."""
        return self._quality(model, self.calibration(model))

    def at_even_odds(self, model: torch.Tensor) -> metrics.Classification:
        """Quality on the test rows without a calibration: the likeliest class is the answer."""
        data = self.federation.data
        level = (0.0,) * data.classes
        if data.multilabel:
            return self._quality(model, metrics.LabelThresholds(level))
        return self._quality(model, metrics.Calibration(level))

    def _quality(
        self, model: torch.Tensor, calibration: metrics.Calibration | metrics.LabelThresholds
    ) -> metrics.Classification:
        test = self.federation.data.test
        logits = self.federation.logits(model, test.x)
        if isinstance(calibration, metrics.LabelThresholds):
            return metrics.label_quality(test.y, logits, calibration)
        return metrics.quality(test.y, logits, calibration)

    def by_class(self, model: torch.Tensor) -> dict[str, dict[str, float]] | None:
        """Quality of each class or label on the test rows, by its name; None of two classes."""
        data = self.federation.data
        if data.classes == 2 and not data.multilabel:
            return None
        logits, calibration = self.federation.logits(model, data.test.x), self.calibration(model)
        if isinstance(calibration, metrics.LabelThresholds):
            each = metrics.by_label(data.test.y, logits, calibration)
        else:
            each = metrics.by_class(data.test.y, logits, calibration)
        return {name: own._asdict() for name, own in zip(data.class_names, each, strict=True)}

    def predictions(self, model: torch.Tensor, memory: Memory | None = None) -> np.ndarray:
        """Predictions on the test rows, with the trigger applied if the attack has one.

        Classes (m,), or 0 and 1 for each label (m, L).

        Args:
            model: float (d,).
            memory: what the attack remembers, of which a trigger that moves is made.
        """
        x = self.federation.data.test.x
        if memory is not None:
            x = self.attack.current_trigger(x, memory)
        elif hasattr(self.attack, "trigger"):  # a backdoor
            x = self.attack.trigger(x)
        return self.calibration(model).predict(self.federation.logits(model, x))

    def success(
        self, model: torch.Tensor, round_number: int | None = None, memory: Memory | None = None
    ) -> metrics.AttackSuccess | None:
        """Attack success over the clean model of the same round, by default over the final one.

        None without an attack. Where the clean run stopped earlier, its final model counts.
        """
        if self.clean is None:
            return None
        path = self.clean / "models" / "final.npy"
        if round_number is not None and model_path(self.clean, round_number).exists():
            path = model_path(self.clean, round_number)
        return self.against(model, read_model(path), memory)

    def raw(
        self, model: torch.Tensor, clean: torch.Tensor | None = None, memory: Memory | None = None
    ) -> float | None:
        """Attack success without a base rate; None where it takes a clean model that is not there.

        Args:
            model: float (d,).
            clean: model of the same run without attack, for untargeted attacks.
            memory: what the attack remembers.
        """
        if clean is None and self.attack.objective == "untargeted":
            return None
        success = self.against(model, model if clean is None else clean, memory)
        return None if success is None else success.raw

    def against(
        self, model: torch.Tensor, clean: torch.Tensor, memory: Memory | None = None
    ) -> metrics.AttackSuccess | None:
        """Attack success over a clean model, both float (d,); None without an attack.

        Both are shown the same trigger: that of an attack which remembers `memory`. Of rows with
        several labels each answer is a case, or that on the label which the attack is after.
        """
        test = seen(self.federation.data.test, self.label)
        own = slice(None) if self.label is None else (slice(None), self.label)
        attacked, before = (self.predictions(each, memory)[own] for each in (model, clean))
        cases = getattr(self.attack, "cases", None)  # of an attack that is after some cases alone
        chosen = slice(None) if cases is None else cases(test.x, test.y)
        return metrics.attack_success(
            self.attack.objective,
            test.y[chosen].flatten(),
            attacked[chosen].ravel(),
            before[chosen].ravel(),
            source_class=getattr(self.attack, "source_class", None),
            target_class=getattr(self.attack, "target_class", None),
        )

    def observe(
        self, round_number: int, model: torch.Tensor, memory: Memory | None = None
    ) -> dict[str, Any]:
        """What a round's row says of the test rows; the federation itself never sees it."""
        success = self.success(model, round_number, memory) if round_number else None
        return {
            "test_accuracy": self.quality(model).accuracy,
            "attack_success": None if success is None else success.raw,
        }


def success_columns(success: metrics.AttackSuccess | None) -> dict[str, float | None]:
    """What a row says of an attack's success; None without an attack."""
    return {
        "attack_success_raw": None if success is None else success.raw,
        "attack_success_base": None if success is None else success.base,
        "attack_success_excess": None if success is None else success.excess,
    }
