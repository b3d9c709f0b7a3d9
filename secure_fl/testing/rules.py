"""Checks of a rule: the same in floating point, in the integers of MPC and between processes."""

from __future__ import annotations

import json
from typing import Any

import torch

from secure_fl.aggregation import Pipeline, build_rule
from secure_fl.aggregation.ops import FRACTION_BITS
from secure_fl.aggregation.pipeline import from_config
from secure_fl.backends.aggregate import open_for
from secure_fl.backends.session import Backend
from secure_fl.extensions import load_extensions
from secure_fl.imports import kind_of
from secure_fl.testing.insist import insist
from secure_fl.types import AggregateResult

DIM = 11
# Steps of the fixed point by which a coordinate may differ from floating point, unless told.
TOLERANCE = 2.0 ** (6 - FRACTION_BITS)


def check_rule(
    rule: Any, hospitals: int = 9, *, nodes: int = 0, tolerance: float = TOLERANCE
) -> None:
    """Hold a rule to the contract of those that ship.

    Updates of some lengths around one direction, a third of them turned round, are combined: the
    result has the right shape and is finite, is the same again from the same seed, in `plain` and
    in `fixed` within `tolerance`; inputs stay as they are; what is opened is what was declared; and
    the rule can be sent to a node as data.

    Args:
        rule: a function marked @rule, a stage, a pipeline, as data or as an object, or a name.
        hospitals: how many updates; all the rule's stages must be able to work with as many.
        nodes: computing nodes, processes started for this, whose result must equal the `fixed`
            one in every bit; 0: none.
        tolerance: by how much a coordinate may differ between `plain` and `fixed`.

    Raises:
        AssertionError: the message says which rule was broken.
        InputError, ConfigError: it is no rule, or cannot work with so many hospitals.
    """
    # A marked function is called with its defaults.
    made = build_rule(rule() if kind_of(rule) in ("rule", "stage") else rule)
    made.check_hospitals(hospitals)
    given = _round(hospitals, DIM)
    results = {}
    for name in ("plain", "fixed"):
        with open_for(made, name) as backend:
            results[name] = _checked(made, backend, given, name)
            _check_sizes(made, backend, hospitals, name)
    _compare(results["plain"], results["fixed"], tolerance)
    _check_data(made, results["fixed"], given)
    if nodes:
        with open_for(made, "mpc", nodes) as backend:
            shared = _checked(made, backend, given, "mpc", seed=None)
        given["seed"] = shared.seed
        with open_for(made, "fixed") as backend:
            clear = _combined(made, backend, given)
        equal = torch.equal(clear.update, shared.update)
        insist(equal, "mpc gives another update than fixed")
        equal = torch.equal(clear.accepted, shared.accepted)
        insist(equal, "mpc gives other verdicts than fixed")
        insist(clear.opened == shared.opened, "mpc opens something else than fixed")


def _round(n: int, d: int) -> dict[str, Any]:
    """Updates around one direction, a third of them turned round, and all else of a round."""
    rng = torch.Generator().manual_seed(1)
    root = torch.randn(d, generator=rng, dtype=torch.float64)
    root /= root.norm()
    x = root + 0.1 * torch.randn(n, d, generator=rng, dtype=torch.float64)
    x *= 0.2 + 0.2 * torch.rand(n, 1, generator=rng, dtype=torch.float64)
    x[: n // 3] *= -1
    weights = 0.5 + 0.5 * torch.rand(n, generator=rng, dtype=torch.float64)
    return {
        "x": x,
        "reputation": weights,
        "reference": root,
        "samples": (100 * weights).round(),
        "model": 0.1 * root.flip(0),
        "seed": bytes(32),
    }


def _combined(rule: Pipeline, backend: Backend, given: dict[str, Any]) -> AggregateResult:
    options = dict(given)
    x = options.pop("x")
    if not rule.weighs_samples:
        del options["samples"]  # refused where they would be ignored
    session = backend.session(rule, *x.shape)
    try:
        submission = session.submit(x)
        insist(not submission.refused, f"ordinary updates are refused: {submission.refused}")
        return session.aggregate(submission, **options)
    finally:
        session.close()


def _checked(
    rule: Pipeline, backend: Backend, given: dict[str, Any], name: str, **changes: Any
) -> AggregateResult:
    """Combine twice; shapes, finiteness, repetition, inputs and openings hold."""
    given = given | changes
    before = {k: v.clone() for k, v in given.items() if isinstance(v, torch.Tensor)}
    first = _combined(rule, backend, given)
    n, d = given["x"].shape
    insist(first.update.shape == (d,), f"{name}: the update has shape {first.update.shape}")
    insist(first.update.isfinite().all(), f"{name}: the update of finite ones is not finite")
    insist(first.accepted.shape == (n,), f"{name}: verdicts have shape {first.accepted.shape}")
    for key, value in before.items():
        insist(torch.equal(given[key], value), f"{name}: {key} is changed in place")
    names = tuple(opening.name for opening in first.opened)
    insist(names == rule.opens, f"{name}: opens {names}, and declares {rule.opens}")
    if given["seed"] is not None:
        again = _combined(rule, backend, given)
        same = torch.equal(first.update, again.update)
        same &= torch.equal(first.accepted, again.accepted)
        insist(same, f"{name}: another result from the same updates and seed")
    return first


def _check_sizes(rule: Pipeline, backend: Backend, hospitals: int, name: str) -> None:
    """One coordinate, and more hospitals."""
    most = rule.most_hospitals or hospitals + 4
    for n, d in ((hospitals, 1), (max(hospitals, min(hospitals + 4, most)), 3)):
        result = _combined(rule, backend, _round(n, d))
        good = result.update.shape == (d,) and bool(result.update.isfinite().all())
        insist(good, f"{name}: {n} updates of {d} coordinates give {result.update}")


def _compare(plain: AggregateResult, fixed: AggregateResult, tolerance: float) -> None:
    same = torch.equal(plain.accepted, fixed.accepted)
    insist(same, f"plain accepts {plain.accepted.tolist()}, fixed {fixed.accepted.tolist()}")
    apart = float((plain.update - fixed.update).abs().max())
    insist(apart <= tolerance, f"plain and fixed differ by {apart:.2g}, above {tolerance:.2g}")


def _check_data(rule: Pipeline, expected: AggregateResult, given: dict[str, Any]) -> None:
    """JSON and back gives the same rule: that is how nodes get it."""
    sent = json.loads(json.dumps(rule.to_config()))
    again = from_config(sent, load_extensions(rule.own_stages))
    insist(again.to_config() == rule.to_config(), "a parameter does not survive being sent as JSON")
    with open_for(again, "fixed") as backend:
        found = _combined(again, backend, given)
    same = torch.equal(found.update, expected.update)
    insist(same, "the rule made from its data gives another update: a stage has hidden parameters")
