"""Rules that trust a public direction, literally."""

from __future__ import annotations

import numpy as np

from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import cosine, norm


def fltrust(x, reputation, root) -> Outcome:
    trust = [max(0.0, cosine(row, root)) for row in x]
    update = np.zeros(x.shape[1])
    for t, row in zip(trust, x, strict=True):
        if t > 0:
            stretch = min(norm(root) / norm(row), 2.0**10)
            update += t * row * stretch / max(sum(trust), 2.0**-16)
    return Outcome(update, np.ones(len(x), bool))
