"""ByzFL's aggregators, for tests that compare rules with them."""

from __future__ import annotations

from types import ModuleType

import pytest

from eval.bench.rule_peers import byzfl


def byzfl_aggregators() -> ModuleType:
    """`byzfl.aggregators`; a test that asks for it is skipped where ByzFL is not installed."""
    found = byzfl("aggregators")
    if found is None:
        pytest.skip("byzfl is not installed: `make setup` does it")
    return found
