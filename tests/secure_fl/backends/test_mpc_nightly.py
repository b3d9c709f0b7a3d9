"""Every rule on a thousand sessions that Hypothesis finds, fewer on more nodes: equal in each bit.

Deselected by default; `docs/reproducing.md` has the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from secure_fl.aggregation import rule_names
from secure_fl.backends.aggregate import open_backend
from secure_fl.mpc.planning import Network
from tests.support.found import search

# How the nodes are set up, and cases of a rule there. On a link without latency ripple adders and
# radix selection are cheapest; by default short updates take prefix adders.
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "2 nodes": (1000, {"nodes": 2}),
    "3 nodes": (100, {"nodes": 3}),
    "4 nodes": (100, {"nodes": 4}),
    "narrow link": (50, {"nodes": 2, "network": Network(latency_ms=0.0, mbit=1.0)}),
    "first party": (
        100,
        {"nodes": 2, "preprocessing": "first_party", "insecure_preprocessing": True},
    ),
}


@pytest.fixture(scope="module", params=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, Any]]:
    """One backend for all rules."""
    cases, options = SETTINGS[request.param]
    with open_backend("mpc", timeout=120, **options) as backend:
        yield request.param, cases, backend


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print at once, for whoever watches."""

    def through(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    return through


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", rule_names())
def test_mpc_equals_fixed(
    setting: tuple[str, int, Any], name: str, say: Callable[[str], None]
) -> None:
    where, cases, backend = setting
    start = monotonic()
    compared = search(backend, name, cases, lambda line: say(f"{name}, {where}: {line}"))
    say(f"{name}, {where}: {compared} cases, all equal, {monotonic() - start:.0f} s")
    assert compared >= cases
