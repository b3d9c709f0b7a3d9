"""Where a rule runs: in the clear (`plain`, `fixed`) or between computing nodes (`mpc`).

with open_backend("mpc", nodes=2) as backend:
    session = backend.session(build_rule("median"), hospitals=20, dim=1000)
    submission = session.submit(updates)
    result = session.aggregate(submission)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from time import perf_counter
from typing import Any

import torch

from ledger.merkle import merkle_root, share_digest
from secure_fl.aggregation import fixed, plain
from secure_fl.aggregation.fixedpoint import encode
from secure_fl.aggregation.ops import Ops, Updates
from secure_fl.aggregation.pipeline import Pipeline, run
from secure_fl.aggregation.rules import build_rule
from secure_fl.errors import InputError, require
from secure_fl.faults import Fault
from secure_fl.inputs import as_updates
from secure_fl.sessions import (
    BACKENDS,
    SALT_BYTES,
    Backend,
    HospitalSecrets,
    Session,
    Submission,
    refusal,
)
from secure_fl.statements import Ties
from secure_fl.types import AggregateResult, Cost


class ClearBackend(Backend):
    """Runs rules in this process, in the clear."""

    def __init__(self, name: str, minimum_hospitals: int = 1) -> None:
        require(name in ("plain", "fixed"), "name", "plain or fixed", name)
        require(minimum_hospitals >= 1, "minimum_hospitals", "at least 1", minimum_hospitals)
        self.name = name
        self.minimum = minimum_hospitals

    def session(
        self,
        rule: Any,
        hospitals: int,
        dim: int,
        simulation_key: bytes | None = None,
        ties: Ties | None = None,
        faults: Sequence[Fault] = (),
    ) -> Session:
        """Open a session in the clear: there are no nodes to sign, or to cheat."""
        require(not faults, "faults", "empty for a clear backend", len(faults))
        require(hospitals >= self.minimum, "hospitals", f"at least {self.minimum}", hospitals)
        hospital_secrets = HospitalSecrets(simulation_key)
        return ClearSession(
            self.name, self.minimum, build_rule(rule), hospitals, dim, hospital_secrets
        )


class ClearSession(Session):
    """A session in the clear: one share, which is the update."""

    def __init__(self, name: str, minimum: int, *args: Any) -> None:
        super().__init__(*args)
        self._name = name
        self._minimum = minimum
        self._states = self.rule.init()

    def _refusal(self, row: torch.Tensor) -> str | None:
        """In floating point nothing is too small."""
        return super()._refusal(row) if self._name == "fixed" else refusal(row, self.rule.limit)

    def _share(self, rows: dict[int, torch.Tensor]) -> tuple[dict[int, bytes], Any]:
        roots = {}
        for hospital, row in rows.items():
            salt = self._secrets.draw(f"salt {self._round} {hospital} 0", SALT_BYTES)
            roots[hospital] = merkle_root([share_digest(salt, encode(row).numpy().tobytes())])
        return roots, rows

    def _wrap(self, rows: list[torch.Tensor]) -> tuple[Ops, Updates | None]:
        ops = plain.PlainOps() if self._name == "plain" else fixed.ClearOps()
        if not rows:
            return ops, None
        x = torch.stack(rows)
        return ops, plain.encode(x) if self._name == "plain" else fixed.wrap(x, self.rule.bits)

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: dict[int, bytes],
        ruled: Sequence[tuple[int, int]],
    ) -> AggregateResult:
        taken = submission.commitments
        hospitals = [h for h in submission.shares if commitments.get(h) == taken[h]]
        start = perf_counter()
        ops, x = self._wrap([submission.shares[h] for h in hospitals])
        update, accepted, self._states = run(
            self.rule,
            self._states,
            ops,
            x,
            hospitals,
            reputation,
            samples,
            self.dim,
            reference,
            self._minimum,
        )
        cost = Cost(seconds_online=perf_counter() - start)
        digests = ops.exits.digests
        return AggregateResult(update, accepted, ops.opened, ops.values, digests, cost)


def open_backend(name: str = "plain", nodes: int = 2, **options: Any) -> Backend:
    """Return a backend by name.

    Args:
        name: "plain", "fixed" or "mpc".
        nodes: computing nodes, mpc only (2 to 4).
        options: `minimum_hospitals`, fewest that are combined; for mpc further options of
            `secure_fl.mpc.cluster.MpcBackend`, such as `allow`.

    Raises:
        InputError: no such backend.
        SecureFLError: mpc without CrypTen.
    """
    if name not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if name == "mpc":
        from secure_fl.mpc.cluster import MpcBackend  # CrypTen is needed for mpc alone

        return MpcBackend(nodes, **options)
    unknown = sorted(options.keys() - {"minimum_hospitals"})
    require(not unknown, "options", "minimum_hospitals alone for a clear backend", unknown)
    return ClearBackend(name, **options)


def open_for(rule: Pipeline, name: str, nodes: int = 2, **options: Any) -> Backend:
    """Open a backend for a rule in hand, whose own stages its nodes may thereby import."""
    if name != "mpc":
        return open_backend(name, nodes, **options)
    return open_backend(name, nodes, allow=rule.own_stages, **options)


def aggregate(
    updates: Any,
    defence: Any = "median",
    backend: str | Backend = "plain",
    nodes: int = 2,
    reputation: Any = None,
    reference: Any = None,
    samples: Any = None,
) -> AggregateResult:
    """Combine updates once with a robust rule.

    Args:
        updates: float (n, d), in any of the forms of `secure_fl.inputs`: a tensor, an array, a
            DataFrame, a list of rows or of state dicts.
        defence: a rule's name, a pipeline as data or as an object (`aggregation.build_rule`).
            Code of your own in it is thereby permitted, also to nodes that are started for it;
            an open backend's nodes must have been started with it (`allow`).
        backend: "plain" (float64), "fixed" (the integers of MPC in the clear) or "mpc"; or an
            open backend, which stays open: "mpc" takes seconds to start its processes.
        nodes: computing nodes, for "mpc".
        reputation: float (n,) in [0, 1], for rules that weigh by it; default all ones.
        reference: float (d,), a public root direction where a rule wants one.
        samples: float (n,), rows that each hospital trained on, for rules that weigh by them, as
            FedAvg does; default all equal. They are believed as they are.

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
        submission = session.submit(x)
        if submission.refused:
            hospital, reason = next(iter(submission.refused.items()))
            raise InputError(f"hospital {hospital}'s update is refused: {reason}")
        return session.aggregate(submission, reputation, reference, samples=samples)
