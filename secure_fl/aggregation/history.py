"""What each hospital has sent so far, summed up: secret rows that outlast a round."""

from __future__ import annotations

from typing import NamedTuple

from secure_fl.aggregation.ops import Ops, Updates
from secure_fl.errors import require


class History(NamedTuple):
    """Accumulated updates: secret rows of the hospitals seen so far."""

    hospitals: tuple[int, ...] = ()
    total: Updates | None = None

    def plus(self, ops: Ops, hospitals: tuple[int, ...], x: Updates) -> tuple[History, Updates]:
        """Add x (m, d) to the totals of its hospitals; return the new history and theirs (m, d).

        Hospitals that are absent this round keep their totals.

        Raises:
            InputError: rows are groups, which are others in each round.
        """
        alone = x.shape[0] == len(hospitals)
        require(alone, "rows with a history", "one hospital's each, not groups", x.shape[0])
        before = self.total
        if before is None:
            return History(hospitals, x), x
        seen = [h for h in hospitals if h in self.hospitals]
        fresh = [h for h in hospitals if h not in self.hospitals]
        away = [h for h in self.hospitals if h not in hospitals]
        parts: list[Updates] = []
        if seen:
            old = ops.rows(before, [self.hospitals.index(h) for h in seen])
            parts.append(ops.accumulate(old, ops.rows(x, [hospitals.index(h) for h in seen])))
        if fresh:
            parts.append(ops.rows(x, [hospitals.index(h) for h in fresh]))
        order = [*seen, *fresh]
        present = ops.rows(ops.join(parts), [order.index(h) for h in hospitals])
        if not away:
            return History(hospitals, present), present
        absent = ops.rows(before, [self.hospitals.index(h) for h in away])
        return History((*hospitals, *away), ops.join([present, absent])), present
