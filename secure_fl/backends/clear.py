"""Rules in the clear, by this process: `plain` and `fixed`."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch

from secure_fl.aggregation.ops import Ops, Updates
from secure_fl.aggregation.pipeline import run
from secure_fl.aggregation.rules import build_rule
from secure_fl.aggregation.surroundings import Surroundings, public_seed
from secure_fl.aggregation.worlds import fixed, plain
from secure_fl.backends.session import Backend, Public, Session, Submission, as_hospitals
from secure_fl.errors import require
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.sharing import refusal
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
        hospitals: int | Sequence[Hospital],
        dim: int,
        simulation_key: bytes | None = None,
    ) -> Session:
        """Open a session in the clear: there are no nodes to sign."""
        members = as_hospitals(hospitals, simulation_key)
        count = len(members)
        require(count >= self.minimum, "hospitals", f"at least {self.minimum}", count)
        pipeline = build_rule(rule)
        pipeline.refuse_too_few(count)
        return ClearSession(self.name, self.minimum, pipeline, members, dim)


class ClearSession(Session):
    """A session in the clear: one share, which is the update."""

    def __init__(self, name: str, minimum: int, *args: Any) -> None:
        super().__init__(*args)
        self._name = name
        self._minimum = minimum
        self._states = self.rule.init()
        self._last: torch.Tensor | None = None

    def _refusal(self, row: torch.Tensor) -> str | None:
        """In floating point nothing is too small."""
        return super()._refusal(row) if self._name == "fixed" else refusal(row, self.rule.limit)

    def _share(self, rows: dict[int, torch.Tensor]) -> tuple[dict[int, bytes], Any]:
        return {h: self.members[h].commit(self._round, row) for h, row in rows.items()}, rows

    def _wrap(self, rows: dict[int, torch.Tensor]) -> tuple[Ops, Updates | None]:
        ops = plain.PlainOps() if self._name == "plain" else fixed.ClearOps()
        if not rows:
            return ops, None
        if self._name == "plain":
            return ops, plain.encode(torch.stack([*rows.values()]))
        bits = self.rule.bits
        encoded = [self.members[h].encode(self._round, row, bits) for h, row in rows.items()]
        return ops, fixed.wrap_integers(torch.stack(encoded), bits)

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: dict[int, bytes],
        ruled: Sequence[tuple[int, int]],
        public: Public,
    ) -> AggregateResult:
        taken = submission.commitments
        hospitals = [h for h in submission.shares if commitments.get(h) == taken[h]]
        start = perf_counter()
        derived = public_seed(self._round, {h: commitments[h] for h in hospitals})
        seed = derived if public.seed is None else public.seed
        ops, x = self._wrap({h: submission.shares[h] for h in hospitals})
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
            Surroundings(self._round, seed, self._last, public.model),
        )
        self._last = update.clone()
        cost = Cost(seconds_online=perf_counter() - start)
        digests = ops.exits.digests
        return AggregateResult(update, accepted, ops.opened, ops.values, digests, cost, seed)
