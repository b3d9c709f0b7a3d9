"""What flows through the stages of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.surroundings import Surroundings, columns_of, groups_of
from secure_fl.errors import require

WEIGHTS = ("uniform", "reputation", "samples")


@dataclass(frozen=True)
class Context:
    """What flows through the stages of one aggregation.

    Attributes:
        ops: the backend.
        x: updates still in play, (m, d).
        hospitals: public numbers of the hospitals in play, ascending.
        reputation: float64 (n,), public, indexed by hospital.
        samples: float64 (n,), public, rows that each hospital counts for, up to a common factor.
        reference: float64 (d,), a public root direction, if the caller gave one.
        accepted: bool (n,), public: submitted and not rejected so far.
        update: the combined update (d,), once a stage has made it.
        minimum: public; with fewer hospitals in play nothing is combined.
        surroundings: public; the round, its randomness, the model and the update opened before.
        rows: which hospitals' mean each row is; None where row i is the i-th hospital's update.
    """

    ops: Ops
    x: Updates
    hospitals: tuple[int, ...]
    reputation: torch.Tensor
    samples: torch.Tensor
    accepted: torch.Tensor
    reference: torch.Tensor | None = None
    update: Secret | None = None
    minimum: int = 1
    surroundings: Surroundings = Surroundings()  # noqa: RUF009
    rows: tuple[tuple[int, ...], ...] | None = None

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The hospitals of each row."""
        return tuple((h,) for h in self.hospitals) if self.rows is None else self.rows

    def weights(self, by: str) -> torch.Tensor:
        """Return public weights of the rows, float64 (m,), the largest 1.

        Args:
            by: one of `WEIGHTS`; "uniform" for 1 each. Where all are zero, they are 1 each too. A
                group has the mean of its members' weights.
        """
        ones = torch.ones(len(self.members), dtype=torch.float64)
        if by == "uniform":
            return ones
        given = (self.reputation if by == "reputation" else self.samples).to(torch.float64)
        chosen = torch.stack([given[list(members)].mean() for members in self.members])
        largest = float(chosen.max())
        # The largest becomes 1, so that none is too small or too large for fixed point.
        return chosen / largest if largest > 0 else ones

    def groups(self, size: int) -> list[list[int]]:
        """Divide the rows in play at random into groups of at least `size`: indices of rows.

        Public, and known only after all commitments (`surroundings.public_seed`).
        """
        return groups_of(self.surroundings.seed, len(self.members), size)

    def grouped(self, groups: Sequence[Sequence[int]]) -> Context:
        """Put the mean of each group of rows in their place; groups are indices of rows, disjoint.

        Raises:
            InputError: the rows are groups already, or groups leave out or repeat some.
        """
        require(self.rows is None, "rows to group", "one hospital's each", self.rows)
        whole = sorted(row for group in groups for row in group) == list(range(self.x.shape[0]))
        require(whole, "groups", f"of the {self.x.shape[0]} rows, each in one", groups)
        rows = tuple(tuple(self.hospitals[row] for row in sorted(group)) for group in groups)
        return replace(self, x=self.ops.group_means(self.x, groups), rows=rows)

    def sampled(self, count: int) -> list[int]:
        """Draw `count` coordinates at random, ascending; public, and known as late as `groups`."""
        return columns_of(self.surroundings.seed, self.x.shape[1], count)

    @property
    def enough(self) -> bool:
        """Whether the hospitals in play are as many as may be combined."""
        return len(self.hospitals) >= max(self.minimum, 1)

    def enough_for(self, needs: int) -> bool:
        """Whether there are as many rows as a stage needs, too."""
        return self.enough and len(self.members) >= needs

    def keep(self, flags: torch.Tensor) -> Context:
        """Keep the rows whose public flag (m,) is set."""
        indices = flags.nonzero()[:, 0].tolist()
        if len(indices) == len(self.members):
            return self
        kept = tuple(self.members[i] for i in indices)
        hospitals = tuple(sorted(hospital for members in kept for hospital in members))
        rows = None if self.rows is None else kept
        return replace(self, x=self.ops.rows(self.x, indices), hospitals=hospitals, rows=rows)

    def reject(self, flags: torch.Tensor) -> Context:
        """Mark as rejected the hospitals of rows whose public flag (m,) is not set; drop them."""
        accepted = self.accepted.clone()
        for members, kept in zip(self.members, flags.tolist(), strict=True):
            accepted[list(members)] &= kept
        return replace(self.keep(flags), accepted=accepted)
