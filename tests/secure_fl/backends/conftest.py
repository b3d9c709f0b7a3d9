"""Nodes that sign, of which one denies shares in some rounds: one cluster a file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from secure_fl.faults import Fault
from secure_fl.simulation.cheating_backend import CheatingBackend
from tests.support.signing import (
    DENIED,
    KEYS,
)


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("transcripts")
    with CheatingBackend(
        (Fault(DENIED, 3, "denial", 1), Fault(DENIED + 1, 2, "denial", 1)),
        timeout=60,
        signers=KEYS,
        minimum_hospitals=3,
        transcript=folder,
    ) as backend:
        backend.folder = folder  # type: ignore[attr-defined]
        yield backend
