"""Rounds of whole rules, counted between nodes: what is independent shares them."""

from __future__ import annotations

import numpy as np
import pytest

from secure_fl.aggregation import build_rule
from tests.support.inside import play

MOST = {"guarded": 440, "clipped_mean": 200}


@pytest.mark.parametrize("name", sorted(MOST))
def test_rules_take_no_more_rounds_than_they_must(name: str) -> None:
    """A root of its own for the clipping bound, public or not, would take a hundred more."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.normal(size=(20, 64)), -1.9, 1.9)
    for outcome in play(build_rule(name), x, reference=np.ones(64)):
        assert outcome.failure is None
        assert outcome.exchanges <= MOST[name]
