"""Clusters of real processes, which take seconds to start: one for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from tests.support.processes import gone


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Backend]:
    yield from _cluster(())


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Two nodes and a dealer; for a module that names stages of its own in ALLOW, its own."""
    allow = getattr(request.module, "ALLOW", ())
    if not allow:
        yield request.getfixturevalue("_shared_cluster")
    else:
        yield from _cluster(allow)


def _cluster(allow: tuple[str, ...]) -> Iterator[Backend]:
    with open_backend("mpc", nodes=2, timeout=60, allow=allow) as backend:
        pids = list(backend.pids.values())
        yield backend
    assert gone(pids)
