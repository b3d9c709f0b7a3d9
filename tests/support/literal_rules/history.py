"""Rules that compare a hospital's updates of several rounds, literally."""

from __future__ import annotations

import numpy as np

from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import average, median_of, norm


class _Detector:
    """The rule `fldetector` over rounds in which hospitals may be absent."""

    def __init__(self, hospitals: int) -> None:
        self.hospitals = hospitals
        self.rows: dict[int, np.ndarray] = {}
        self.scores: dict[int, float] = {}
        self.updates: list[np.ndarray] = []

    def change(self) -> np.ndarray | float:
        if len(self.updates) < 2:
            return 0.0
        v, s = self.updates[-1], self.updates[-2]
        y = v - s
        if norm(y) * norm(s) == 0 or abs(y @ s) < 0.1 * norm(y) * norm(s):
            return 0.0
        d = len(v)
        sigma = (y @ s) / (s @ s)
        b = sigma * np.eye(d)
        b = b - np.outer(b @ s, b @ s) / (s @ b @ s) + np.outer(y, y) / (y @ s)
        found = b @ v
        return found * min(1.0, norm(v) / norm(found)) if norm(found) else found

    def round(self, rows: dict[int, np.ndarray], deviations: float = 3.0) -> Outcome:
        again = [h for h in rows if h in self.rows]
        if again:
            gaps = {h: norm(rows[h] - self.rows[h] - self.change()) for h in again}
            gaps = {h: g if g >= 2.0**-12 else g**2 * 2.0**12 for h, g in gaps.items()}
            total = max(sum(gaps.values()), 2.0**-12)
            for h in again:
                fresh = gaps[h] / total
                self.scores[h] = (fresh + self.scores[h]) / 2 if h in self.scores else fresh
        here = [self.scores[h] for h in rows if h in self.scores]
        accepted, margin = np.zeros(self.hospitals, bool), np.inf
        accepted[list(rows)] = True
        if here:
            middle = median_of(here)
            limit = middle + deviations * median_of([abs(s - middle) for s in here])
            for h in rows:
                if h in self.scores:
                    accepted[h] = self.scores[h] <= limit
                    margin = min(margin, abs(self.scores[h] - limit))
        kept = np.array([row for h, row in rows.items() if accepted[h]])
        update = average(kept, [1.0] * len(kept), len(next(iter(rows.values()))))
        self.rows = dict(rows)
        self.updates.append(update)
        flags = {"accepted": np.array([accepted[h] for h in rows])}
        return Outcome(update, accepted, margin, flags)


def fldetector(x, reputation, root) -> Outcome:
    return _Detector(len(x)).round(dict(enumerate(x)))
