"""The public checks pass what ships, and tell what is broken by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import secure_fl
from secure_fl.aggregation import Context, Opens, Stage, build_rule, rule_names, stage
from secure_fl.data import Dataset
from secure_fl.data.sets import digits
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.testing import check_data, check_model, check_rule


def test_what_ships_passes() -> None:
    for name in rule_names():
        check_rule(name)
    check_data(digits.load)
    check_model(MLP, (7,), 2, {"hidden": (3,)})
    check_model(CNN, (1, 8, 8), 4)


def _update(context: Context, update: Any) -> Context:
    return replace(context, update=update)


@stage
def forgets(factor: float = 1.0) -> Stage:
    """Another at each call.  Reveals: nothing."""
    calls: list[int] = []

    def apply(context: Context, state: object) -> tuple[Context, object]:
        calls.append(1)
        weights = torch.zeros(len(context.hospitals), dtype=torch.float64)
        weights[len(calls) % len(context.hospitals)] = 1.0
        return _mean(context, weights), state

    return Stage(apply)


def _mean(context: Context, weights: torch.Tensor) -> Context:
    """The mean of the rows that a public weight picks."""
    kept = tuple(h for h, w in zip(context.hospitals, weights.tolist(), strict=True) if w)
    picked = weights > 0
    made = context.reject(picked)
    assert made.hospitals == kept
    step = build_rule("mean").stages[0]
    return step.apply(made, step.init())[0]


@stage
def counts_wrong() -> Stage:
    """Declares a flag that it does not open."""
    step = build_rule("median").stages[0]
    return Stage(step.apply, opens=(Opens("accepted"),))


HIDDEN = {"beta": 0.0}


@stage
def hides() -> Stage:
    """Depends on something that is no parameter."""
    HIDDEN["beta"] = 0.4 - HIDDEN["beta"]  # another each time that it is made
    return build_rule("trimmed_mean", beta=HIDDEN["beta"]).stages[0]


def test_a_rule_that_forgets_is_told() -> None:
    with pytest.raises(AssertionError, match="another result from the same updates and seed"):
        check_rule(forgets)


def test_a_rule_that_opens_less_than_it_declares_is_told() -> None:
    with pytest.raises(secure_fl.InputError, match="accepted"):
        check_rule(counts_wrong)


def test_a_rule_whose_worlds_are_apart_is_told() -> None:
    with pytest.raises(AssertionError, match="plain and fixed differ by"):
        check_rule("mean", tolerance=0.0)


def test_a_rule_with_hidden_parameters_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="another update: a stage has hidden parameters"):
        check_rule(hides)


def test_a_rule_that_cannot_bear_so_few_is_refused() -> None:
    with pytest.raises(secure_fl.InputError, match="krum"):
        check_rule(build_rule("krum", num_malicious=4), hospitals=9)


def rows(path: Path | None, **changes: Any) -> Dataset:
    rng = np.random.default_rng(0)
    made = {
        "name": "rows",
        "kind": "tabular",
        "x": rng.normal(size=(600, 2)).astype(np.float32),
        "y": np.arange(600) % 2,
        "group": np.arange(600),
        "feature_names": ("a", "b"),
        "class_names": ("no", "yes"),
    }
    return Dataset(**made | changes)


def test_data_that_break_a_rule_are_told() -> None:
    check_data(rows)
    fresh = np.random.default_rng()
    infinite = np.full((600, 2), np.inf, dtype=np.float32)
    bright = np.full((600, 1, 2, 2), 255.0, dtype=np.float32)
    broken: dict[str, Any] = {
        "returns dict": lambda path: {},
        "x is another": lambda path: rows(path, x=fresh.random((600, 2)).astype(np.float32)),
        "y must be int64": lambda path: rows(path, y=(np.arange(600) % 2).astype(np.int32)),
        r"no row is of class \['no'\]": lambda path: rows(path, y=np.ones(600, np.int64)),
        "x is infinite": lambda path: rows(path, x=infinite),
        r"images must lie in \[0, 1\]": lambda path: rows(
            path, kind="image", x=bright, feature_names=()
        ),
    }
    for message, loader in broken.items():
        with pytest.raises(AssertionError, match=message):
            check_data(loader)


@secure_fl.model
def unseeded(feature_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Drawn anew each time."""
    torch.seed()
    return nn.Linear(feature_shape[0], classes)


@secure_fl.model
class Bent(MLP):
    """Its gradients are twice what they should be."""

    def gradients(self, *given: Any) -> torch.Tensor:
        return 2 * super().gradients(*given)


@secure_fl.model
class Mixing(MLP):
    """From the third network on, logits depend on the networks beside."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return super().forward(tensors, x - x.mean(0, keepdim=True) if len(x) > 2 else x)


def test_models_that_break_a_rule_are_told() -> None:
    for builder, message in (
        (unseeded, "built again it starts with other parameters"),
        (Bent, "gradients are not those"),
        (Mixing, "depend on the rows or networks beside it"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_model(builder)
