"""Where a rule runs: in the clear (`plain`, `fixed`) or between computing nodes (`mpc`).

with open_backend("mpc", nodes=2) as backend:
    session = backend.session(build_rule("median"), hospitals=20, dim=1000)
    submission = session.submit(updates)
    result = session.aggregate(submission)
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.aggregation.rules import build_rule
from secure_fl.backends.clear import ClearBackend
from secure_fl.backends.session import (
    BACKENDS,
    Backend,
)
from secure_fl.errors import InputError, require
from secure_fl.inputs import as_updates
from secure_fl.threads import on_cpu
from secure_fl.types import AggregateResult


def open_backend(name: str = "plain", nodes: int = 2, **options: Any) -> Backend:
    """Return a backend by name.

    Args:
        name: "plain", "fixed" or "mpc".
        nodes: computing nodes, mpc only (2 to 4).
        options: `minimum_hospitals`, fewest that are combined; for mpc further options of
            `secure_fl.backends.shared.MpcBackend`, such as `allow`.

    Raises:
        InputError: no such backend.
        SecureFLError: mpc without CrypTen.
    """
    if name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if name == "mpc":
        from secure_fl.backends.shared import MpcBackend  # CrypTen is needed for mpc alone

        return MpcBackend(nodes, **options)
    unknown = sorted(options.keys() - {"minimum_hospitals"})
    require(not unknown, "options", "minimum_hospitals alone for a clear backend", unknown)
    return ClearBackend(name, **options)


def open_for(rule: Pipeline, name: str, nodes: int = 2, **options: Any) -> Backend:
    """Open a backend for a rule in hand, whose own stages its nodes may thereby import."""
    if name != "mpc":
        return open_backend(name, nodes, **options)
    return open_backend(name, nodes, allow=rule.own_stages, **options)


@on_cpu()
def aggregate(
    updates: Any,
    defence: Any = "median",
    backend: str | Backend = "plain",
    nodes: int = 2,
    reputation: Any = None,
    reference: Any = None,
    samples: Any = None,
    model: Any = None,
    seed: bytes | None = None,
) -> AggregateResult:
    """Combine updates once with a robust rule.

    Args:
        updates: float (n, d), in any of the forms of `secure_fl.inputs`: a tensor, an array, a
            DataFrame, a list of rows or of state dicts.
        defence: a rule's name, a pipeline as data or as an object (`aggregation.build_rule`).
            Code of your own in it is thereby permitted, also to nodes that are started for it;
            an open backend's nodes must have been started with it (`allow`).
        backend: "plain" (floating point, in float32 for float32 updates), "fixed" (the integers of
            MPC in the clear) or "mpc"; or an open backend, which stays open: "mpc" takes seconds
            to start its processes the first time, and a fraction of one after that.
        nodes: computing nodes, for "mpc".
        reputation: float (n,) in [0, 1], for rules that weigh by it; default all ones.
        reference: float (d,), a public root direction where a rule wants one.
        samples: float (n,), rows that each hospital trained on, for rules that weigh by them, as
            FedAvg does; default all equal. They are believed as they are.
        model: float (d,), the public global model where a rule wants one.
        seed: 32 bytes, for "plain" and "fixed": public randomness of rules that draw groups, places
            or noise; default drawn from the commitments. A result has it (`seed`).

    Returns:
        The combined update, who was accepted, what was opened and what it cost.

    Raises:
        InputError: a value is not finite, out of the rule's range, or of the wrong shape; the
            message names the hospital.

    Example:
        >>> import numpy as np
        >>> aggregate(np.array([[1.0], [2.0], [50.0]]), "median").update
        tensor([2.], dtype=torch.float64)
        >>> fedavg = {"stages": [{"weighted_mean": {"by": "samples"}}]}
        >>> aggregate(np.array([[1.0], [2.0]]), fedavg, samples=[10, 90]).update
        tensor([1.9000], dtype=torch.float64)
    """
    x = as_updates(updates)
    rule = build_rule(defence)
    with ExitStack() as stack:
        if isinstance(backend, str):
            backend = stack.enter_context(open_for(rule, backend, nodes))
        session = stack.enter_context(closing(backend.session(rule, x.shape[0], x.shape[1])))
        submission = session.submit(x, copy=False)
        if submission.refused:
            hospital, reason = next(iter(submission.refused.items()))
            raise InputError(f"hospital {hospital}'s update is refused: {reason}")
        return session.aggregate(
            submission, reputation, reference, samples=samples, model=model, seed=seed
        )
