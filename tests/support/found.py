"""Sessions that Hypothesis finds, run under MPC and in the clear: equal in every bit.

Ties, ends of the range, single units, hospitals that stay away and submissions that are refused
occur; rules with state run over several rounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from secure_fl.aggregation import Pipeline, build_rule
from secure_fl.aggregation.rules import rule_builders
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend

MOST_HOSPITALS, MOST_PARAMETERS = 33, 8
FEW_HOSPITALS = 8
ROUNDS_WITH_STATE = 3
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    # Norms of 33 rows of 8 coordinates below 2^9 still fit the ring.
    "max_abs": st.sampled_from([2.0**-6, 1.0, 2.0, 128.0, 2.0**9]),
    "max_norm": st.sampled_from([2.0**-10, 0.3, 1.0, 5.0, 100.0]),
    "threshold": st.sampled_from([0.0, 0.0, 0.5, -0.5, 1.0, -1.0]),
    "beta": st.sampled_from([0.0, 0.1, 0.2, 0.34, 0.49]),
    "ratio": st.sampled_from([0.0, 0.25, 1.0]),
    "deviations": st.sampled_from([0.5, 9.0]),
    "spared": st.sampled_from([1.0, 0.0, -0.15, -1.0]),
    "num_malicious": st.sampled_from([None, None, 0, 1, 2]),
    "keep": st.sampled_from([None, 1, 3]),
    "verdicts": st.booleans(),
    "columns": st.just(10_000),  # all: each session has salts, and so public randomness, of its own
    "window": st.sampled_from([1, 2]),
    "pivot": st.sampled_from([0, 2, 40]),
    "smoothing": st.sampled_from([0.01, 0.5]),
    "steps": st.sampled_from([1, 2, 3]),
    "start": st.sampled_from(["mean", "zero"]),
    "agreement": st.sampled_from([0.1, 0.4, 0.5, 1.0]),
    "tau": st.sampled_from([2.0**-6, 0.3, 5.0, 100.0]),
    "iterations": st.sampled_from([1, 2, 4]),
    "step": st.sampled_from([2.0**-16, 2.0**-10, 0.3, 2.0**8]),
    "size": st.sampled_from([1, 2, 3, 40]),
    "count": st.sampled_from([1, 2, 5, 64]),
    "by": st.sampled_from(["uniform", "reputation", "samples"]),
    "lower": st.sampled_from([0.0, 0.1, 1.0]),
    "upper": st.sampled_from([1.0, 3.0, 100.0]),
    "share": st.sampled_from([0.01, 0.1, 1.0]),
    "fraction": st.sampled_from([0.01, 0.3, 1.0]),
    "sign_deviations": st.sampled_from([0.1, 1.0, 100.0]),
    "cosine_deviations": st.sampled_from([0.1, 1.0, 100.0]),
    "sigma": st.sampled_from([2.0**-12, 0.5]),
    "synthetic": st.sampled_from([0.0, 0.2, 0.5, 1.0]),
}


@dataclass(frozen=True)
class Round:
    """What one aggregation takes: updates (n, d), who is there, reputations (n,), a root (d,)."""

    x: np.ndarray
    present: list[bool]
    reputation: np.ndarray
    root: np.ndarray


@dataclass(frozen=True)
class Plan:
    """A rule, n hospitals, d parameters, and the rounds of one session."""

    rule: Pipeline
    shape: tuple[int, int]
    rounds: list[Round]


def fitting(rule: Pipeline, hospitals: int) -> int:
    """So many hospitals, or few where the rule tries all their subsets."""
    return hospitals if rule.most_hospitals is None else min(hospitals, FEW_HOSPITALS)


def has_state(name: str) -> bool:
    """Whether a rule depends on earlier rounds: on state, or on the last update."""
    stateful = any(state is not None for state in build_rule(name).init())
    return stateful or name in ("centered_clipping",)


def _values(draw: Callable[..., Any], shape: tuple[int, int], edge: int) -> np.ndarray:
    """Integers in (-edge - 1, edge + 1): free, tied, at the ends, tiny or near one another."""
    near = st.integers(-min(edge, 3), min(edge, 3))
    kinds = {
        "free": st.integers(-edge, edge),
        "ties": st.sampled_from(draw(st.lists(st.integers(-edge, edge), min_size=1, max_size=3))),
        "ends": st.sampled_from([-edge, -edge + 1, -1, 0, 1, edge - 1, edge]),
        "tiny": near,
    }
    kind = draw(st.sampled_from([*kinds, "crowd"]))
    if kind != "crowd":
        return draw(arrays.arrays(np.int64, shape, elements=kinds[kind]))
    # Most hospitals nearly agree; one may stand apart.
    middle = draw(arrays.arrays(np.int64, shape[1:], elements=kinds["free"]))
    x = middle + draw(arrays.arrays(np.int64, shape, elements=near))
    odd = draw(st.integers(0, shape[0] - 1))
    x[odd] *= draw(st.sampled_from([1, -1, 2, 0]))
    return np.clip(x, -edge, edge)


@st.composite
def plans(draw: Callable[..., Any], name: str) -> Plan:
    """Draw a session of a shipped rule."""
    wanted = inspect.signature(rule_builders()[name]).parameters
    rule = build_rule(name, **{key: draw(PARAMETERS[key]) for key in wanted})
    fewest = max(stage.needs for stage in rule.stages)
    n, d = (
        draw(st.integers(fewest, fitting(rule, MOST_HOSPITALS))),
        draw(st.integers(1, MOST_PARAMETERS)),
    )
    edge = int(rule.limit * 2**16) - 1
    rounds = []
    for _ in range(ROUNDS_WITH_STATE if has_state(name) else 1):
        x = _values(draw, (n, d), edge) / 2.0**16
        if draw(st.integers(0, 3)) == 0:
            bad = draw(st.sampled_from([float("nan"), float("-inf"), rule.limit, -2 * rule.limit]))
            x[draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1))] = bad
        all_there = draw(st.booleans())
        flags = [True] * n if all_there else draw(st.lists(st.booleans(), min_size=n, max_size=n))
        weight = draw(st.sampled_from([st.just(1.0), st.just(0.0), st.floats(0, 1)]))
        reputation = draw(arrays.arrays(np.float64, (n,), elements=weight))
        root = draw(
            arrays.arrays(np.float64, (d,), elements=st.floats(-4, 4, allow_subnormal=False))
        )
        rounds.append(Round(x, flags, reputation, root))
    return Plan(rule, (n, d), rounds)


def same(shared: Any, clear: Any) -> None:
    """Equal in every bit that leaves the nodes."""
    assert torch.equal(shared.update, clear.update)
    assert torch.equal(shared.accepted, clear.accepted)
    assert shared.opened == clear.opened
    assert set(shared.values) == set(clear.values) - {"update"}
    for name, value in shared.values.items():
        assert torch.equal(value, clear.values[name])


def as_declared(result: Any, rule: Pipeline, taking_part: int, dim: int) -> None:
    """What was opened is what the rule declares: names, order, shapes, and nothing else.

    A flag for every hospital that takes part. Where nobody is left before the end, or fewer than a
    stage needs, the rest of the declaration is not opened, and a public zero stands for the update.
    """
    *flags, last = result.opened
    names = tuple(opening.name for opening in flags)
    assert names == rule.opens[: len(names)]
    if len(names) < len(rule.opens) - 1:
        assert int(result.accepted.sum()) < max(stage.needs for stage in rule.stages)
        assert not result.update.any()
    assert all(opening.shape == (taking_part,) for opening in flags)
    assert last == ("update", (dim,), 2.0**-16)
    assert set(result.values) - {"update"} == set(names)
    assert all(result.values[name].dtype == torch.bool for name in names)


def run_both(backend: Backend, plan: Plan) -> None:
    """Run a session at the nodes and in the clear, and compare what each round opens."""
    n, d = plan.shape
    with open_backend("fixed") as fixed:
        pair = [where.session(plan.rule, n, d) for where in (backend, fixed)]
        for step in plan.rounds:
            handed_in = [session.submit(step.x, step.present) for session in pair]
            assert handed_in[0].refused.keys() == handed_in[1].refused.keys()
            public: dict[str, Any] = {"reference": step.root, "model": step.root}
            shared = pair[0].aggregate(handed_in[0], step.reputation, **public)
            clear = pair[1].aggregate(handed_in[1], step.reputation, **public, seed=shared.seed)
            same(shared, clear)
            as_declared(shared, plan.rule, len(handed_in[0].commitments), d)
        for session in pair:
            session.close()


def search(
    backend: Backend, name: str, cases: int, say: Callable[[str], None] = lambda line: None
) -> int:
    """Compare `cases` aggregations of a rule, all different; return how many were compared."""
    rounds = ROUNDS_WITH_STATE if has_state(name) else 1
    done = 0

    @settings(
        max_examples=-(-cases // rounds),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(plan=plans(name))
    def compared(plan: Plan) -> None:
        nonlocal done
        run_both(backend, plan)
        done += rounds
        if done % 50 < rounds:
            say(f"{done} of {cases}")

    compared()
    return done
