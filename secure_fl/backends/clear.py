"""Rules in the clear, by this process: `plain` and `fixed`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch

from secure_fl.aggregation.ops import Ops, Updates
from secure_fl.aggregation.rules import build_rule
from secure_fl.aggregation.running import run
from secure_fl.aggregation.surroundings import Surroundings, public_seed
from secure_fl.aggregation.worlds import fixed, plain
from secure_fl.backends.session import Backend, Public, Session, Submission, as_hospitals
from secure_fl.errors import require
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.sharing import all_within, refusal
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
        pipeline.check_hospitals(count)
        return ClearSession(self.name, self.minimum, pipeline, members, dim)


class Commitments(Mapping[int, bytes]):
    """Roots of hospitals' updates in the clear, computed once one is read.

    Args:
        members: hospitals that take part.
        number: of the round.
        rows: float (m, d), their updates, which nobody changes.
    """

    def __init__(self, members: Sequence[Hospital], number: int, rows: torch.Tensor) -> None:
        self._rows = dict(zip((member.number for member in members), rows, strict=True))
        self._members = {member.number: member for member in members}
        self._number = number
        self._roots: dict[int, bytes] = {}

    def __getitem__(self, hospital: int) -> bytes:
        if hospital not in self._roots:
            row = self._rows[hospital].to(torch.float64)
            self._roots[hospital] = self._members[hospital].commit(self._number, row)
        return self._roots[hospital]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class ClearSession(Session):
    """A session in the clear: one share, which is the update."""

    def __init__(self, name: str, minimum: int, *args: Any) -> None:
        super().__init__(*args)
        self._name = name
        self._minimum = minimum
        self._states = self.rule.init()
        self._last: torch.Tensor | None = None

    def _refusals(self, x: torch.Tensor, hospitals: Sequence[int]) -> dict[int, str]:
        """In floating point nothing is too small."""
        if self._name == "fixed":
            return super()._refusals(x, hospitals)
        everybody = len(hospitals) == len(x) > 0
        if everybody and all_within(x, self.rule.limit):
            return {}
        found = {h: refusal(x[h], self.rule.limit) for h in hospitals}
        return {hospital: why for hospital, why in found.items() if why}

    def _share(
        self, x: torch.Tensor, hospitals: Sequence[int], copy: bool
    ) -> tuple[Mapping[int, bytes], Any]:
        everybody = len(hospitals) == len(x)
        rows = x if everybody and not copy else x[list(hospitals)]
        members = [self.members[h] for h in hospitals]
        return Commitments(members, self._round, rows), rows

    def _wrap(self, x: torch.Tensor, hospitals: Sequence[int]) -> tuple[Ops, Updates | None]:
        ops = plain.PlainOps() if self._name == "plain" else fixed.ClearOps()
        if not len(x):
            return ops, None
        if self._name == "plain":
            return ops, plain.encode(x)
        bits, number = self.rule.bits, self._round
        rows = zip(hospitals, x.to(torch.float64), strict=True)
        encoded = [self.members[h].encode(number, row, bits) for h, row in rows]
        return ops, fixed.wrap_integers(torch.stack(encoded), bits)

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: Mapping[int, bytes],
        ruled: Sequence[tuple[int, int]],
        public: Public,
    ) -> AggregateResult:
        taken = submission.commitments
        rows, hospitals = submission.shares, list(taken)
        start = perf_counter()
        if commitments is not taken:
            good = [k for k, h in enumerate(taken) if commitments.get(h) == taken[h]]
            rows, hospitals = rows[good], [hospitals[k] for k in good]
            commitments = {h: commitments[h] for h in hospitals}
        ops, x = self._wrap(rows, hospitals)
        derived = functools.partial(public_seed, self._round, commitments)
        drawn_from = derived if public.seed is None else public.seed
        surroundings = Surroundings(self._round, drawn_from, self._last, public.model)
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
            surroundings,
        )
        self._last = update.clone()
        cost = Cost(seconds_online=perf_counter() - start)
        digests = ops.exits.digests
        return AggregateResult(
            update, accepted, ops.opened, ops.values, digests, cost, surroundings.used_seed
        )
