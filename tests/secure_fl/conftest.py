"""Clusters of real processes: one a module and number of nodes, since a start takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from tests.support.processes import gone


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Two nodes and a dealer; a module names the stages of its own in ALLOW."""
    allow = getattr(request.module, "ALLOW", ())
    with open_backend("mpc", nodes=2, timeout=60, allow=allow) as backend:
        pids = list(backend.pids.values())
        yield backend
    assert gone(pids)
