"""The two sides of an aggregation: hospitals that hand in, and a place where a rule runs.

A `Session` keeps a rule's state over rounds. `submit` is the hospitals' side: each encodes, splits
and commits to its own update. `aggregate` is the nodes' side. The backends themselves are in
`secure_fl.backends.aggregate`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch

from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.backends.statements import Findings, Signed
from secure_fl.errors import require
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.hospital.sharing import lost_to_rounding, refusal
from secure_fl.inputs import as_updates, as_vector, whole_number
from secure_fl.threads import on_cpu
from secure_fl.types import AggregateResult

BACKENDS = ("plain", "fixed", "mpc")
# Where correlated randomness comes from: a process of its own, or CrypTen's TFP, inside node 0.
# Longest time limit of a silent node, in seconds: sockets take no endless ones.
LONGEST = 1_000_000


@dataclass(frozen=True)
class Submission:
    """What the hospitals handed in for one round.

    Attributes:
        commitments: 32-byte Merkle root over a hospital's salted share digests, by hospital; in
            the clear computed once one is read.
        refused: why a hospital's update was not taken, by hospital.
        shares: backend's own, opaque to others.
    """

    commitments: Mapping[int, bytes]
    refused: dict[int, str]
    shares: Any


class Public(NamedTuple):
    """What else is public of a round.

    Attributes:
        model: float64 (d,), the global model, or None.
        seed: 32 bytes in place of those that follow from the commitments, or None.
    """

    model: torch.Tensor | None = None
    seed: bytes | None = None


def as_hospitals(
    hospitals: int | Sequence[Hospital], simulation_key: bytes | None = None
) -> tuple[Hospital, ...]:
    """Hospitals of a session, in order of seat.

    Args:
        hospitals: them; or how many, who sign nothing.
        simulation_key: those that are only counted derive their secrets from it.

    Raises:
        InputError: no hospital, or one out of its seat.
    """
    if isinstance(hospitals, Sequence):
        seats = [hospital.number for hospital in hospitals]
        require(seats == list(range(len(seats))), "hospitals", "in order of seat", seats)
        require(simulation_key is None, "simulation_key", "left to the hospitals", "one")
    else:
        count = whole_number(hospitals, "hospitals")
        sharing = HospitalSecrets(simulation_key)
        hospitals = [Hospital(number, sharing) for number in range(count)]
    require(len(hospitals) >= 1, "hospitals", "at least 1", len(hospitals))
    return tuple(hospitals)


class Session(ABC):
    """One rule over several rounds, for n hospitals and d parameters.

    A round is `submit`, then `aggregate` of what it returned. Threads that share a session take
    turns call by call; a submission that another thread's has replaced is refused.
    """

    def __init__(self, rule: Pipeline, members: Sequence[Hospital], dim: int) -> None:
        dim = whole_number(dim, "dim")
        require(dim >= 1, "dim", "at least 1", dim)
        self.rule = rule
        self.members = tuple(members)
        self.hospitals, self.dim = len(self.members), dim
        self._round = 0
        self._submitted: Submission | None = None
        # Held for a whole call: one thread's shares never mix with another's.
        self._lock = threading.RLock()

    @on_cpu()
    def submit(
        self, updates: Any, present: Sequence[bool] | None = None, copy: bool = True
    ) -> Submission:
        """Hand in one round's updates.

        Args:
            updates: float (n, d), in any of the forms of `secure_fl.inputs`.
            present: which hospitals take part, all by default.
            copy: False where nobody changes `updates` before they are combined.

        Hospitals whose update is not finite, out of range or, where the backend computes with
        integers, too small for their steps are refused by name; the others go on.

        Raises:
            InputError: wrong shapes.
        """
        x = as_updates(updates)
        shape = (self.hospitals, self.dim)
        require(tuple(x.shape) == shape, "updates' shape", f"{shape}", tuple(x.shape))
        flags = [True] * self.hospitals if present is None else [bool(p) for p in present]
        require(len(flags) == self.hospitals, "present", f"{self.hospitals} flags", len(flags))
        hospitals = [h for h in range(self.hospitals) if flags[h]]
        refused = self._refusals(x, hospitals)
        taken = [h for h in hospitals if h not in refused]
        with self._lock:
            self._round += 1
            self._submitted = None
            commitments, shares = self._share(x, taken, copy)
            self._submitted = Submission(commitments, refused, shares)
            return self._submitted

    @on_cpu()
    def aggregate(
        self,
        submission: Submission,
        reputation: Any = None,
        reference: Any = None,
        commitments: Mapping[int, bytes] | None = None,
        ruled: Sequence[tuple[int, int]] = (),
        samples: Any = None,
        model: Any = None,
        seed: bytes | None = None,
    ) -> AggregateResult:
        """Combine the submitted updates, once.

        Args:
            submission: what `submit` returned last.
            reputation: float (n,), public, in [0, 1]; all ones by default.
            reference: float (d,), a public root direction, where the rule wants one.
            commitments: roots as read from the chain; by default those of the submission. A
                hospital without one, or whose shares do not open it, does not take part. After
                `check_shares` those that it was given count.
            ruled: (hospital, node) of shares that the node denied and that opened by the
                contract's ruling.
            samples: float (n,), public, >= 0: rows that each hospital counts for, up to a common
                factor; all equal by default.
            model: float (d,), public: the global model that the updates start from, where the rule
                uses it.
            seed: 32 bytes, in the clear alone: public randomness in place of what follows from the
                commitments, so that a round of the nodes can be computed again (`result.seed`).

        Raises:
            InputError: wrong shapes or values; another submission than this session's last; under
                MPC also a round combined already, or fewer hospitals in play than the nodes
                combine.
        """
        trust = self._public("reputation", reputation)
        good = bool(((trust >= 0) & (trust <= 1)).all())
        require(good, "reputation", "in [0, 1] (numbers of rows go by samples)", trust.tolist())
        counts = self._public("samples", samples)
        good = bool(((counts >= 0) & counts.isfinite()).all())
        require(good, "samples", "finite and >= 0", counts.tolist())
        used = samples is None or self.rule.weighs_samples
        rule = "left out for a rule without {weighted_mean: {by: samples}}, which would ignore them"
        require(used, "samples", rule, counts.tolist())
        direction = None if reference is None else as_vector(reference, self.dim, "reference")
        if direction is not None:
            require(bool(direction.isfinite().all()), "reference", "finite", "NaN or infinity")
        given = None if model is None else as_vector(model, self.dim, "model")
        if given is not None:
            require(bool(given.isfinite().all()), "model", "finite", "NaN or infinity")
        known = seed is None or (isinstance(seed, bytes) and len(seed) == 32)
        require(known, "seed", "32 bytes", seed)
        public = Public(given, seed)
        roots = submission.commitments if commitments is None else commitments
        with self._lock:
            mine = submission is self._submitted
            require(mine, "submission", "what this session's submit returned last", "another")
            return self._aggregate(submission, trust, counts, direction, roots, ruled, public)

    def _public(self, name: str, values: Any) -> torch.Tensor:
        """One public number for each hospital, float64 (n,); all ones for None."""
        if values is None:
            return torch.ones(self.hospitals, dtype=torch.float64)
        return as_vector(values, self.hospitals, name)

    def _refusals(self, x: torch.Tensor, hospitals: Sequence[int]) -> dict[int, str]:
        """Why updates, rows of x (n, d), cannot be handed in, by hospital."""
        found = {h: refusal(x[h], self.rule.limit) or lost_to_rounding(x[h]) for h in hospitals}
        return {hospital: why for hospital, why in found.items() if why}

    @abstractmethod
    def _share(
        self, x: torch.Tensor, hospitals: Sequence[int], copy: bool
    ) -> tuple[Mapping[int, bytes], Any]:
        """Let hospitals commit to their rows of x (n, d), and hand them in.

        Args:
            copy: somebody may change x later.
        """

    @abstractmethod
    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: Mapping[int, bytes],
        ruled: Sequence[tuple[int, int]],
        public: Public,
    ) -> AggregateResult: ...

    def check_shares(
        self, commitments: Mapping[int, bytes], posted_root: bytes = bytes(32)
    ) -> Findings | None:
        """What nodes that hold keys found of the shares; None: nobody signs in this session.

        Args:
            commitments: roots as read from the chain.
            posted_root: root over them where the chain holds one, else zero.
        """
        return None

    def sign_result(self, result_sha256: str, candidate_sha256: str) -> Signed | None:
        """Nodes' signatures on the last result and the model from it; None: nobody signs."""
        return None

    def sign_closing(
        self, entry: int, candidate_sha256: str, records: bytes
    ) -> tuple[Findings, Signed] | None:
        """Nodes' signatures on a run's last entry; None: nobody signs."""
        return None

    def close(self) -> None:  # noqa: B027
        """Forget the session's state."""


class Backend(ABC):
    """A place where sessions run; a context manager."""

    @abstractmethod
    def session(
        self,
        rule: Any,
        hospitals: int | Sequence[Hospital],
        dim: int,
        simulation_key: bytes | None = None,
    ) -> Session:
        """Open a session.

        Args:
            rule: anything that `build_rule` takes.
            hospitals: who takes part, in order of seat; or how many, who sign nothing. Those that
                have a contract sign for it, and so do nodes that hold keys.
            dim: coordinates of an update.
            simulation_key: hospitals that are only counted derive their secrets from it; it must
                serve one session alone. Default: the operating system's randomness.
        """

    def close(self) -> None:  # noqa: B027
        """Stop whatever was started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
