"""Set-up of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Files of tests run side by side, each in one thread: two that share a small product wait for each
# other longer than it takes. Before torch is imported, and for the programs under test.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support.order import place

# The suite tries the same cases every time, so that it fails only where something has changed.
# `--hypothesis-profile nightly` explores: other cases at each run, kept where they failed.
settings.register_profile("suite", derandomize=True, database=None, deadline=None)
# Each setting that the variable CI changes by itself is given.
settings.register_profile(
    "nightly",
    derandomize=False,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
    deadline=None,
    print_blob=True,
)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test.

    Shells start background jobs with SIGINT ignored, which children inherit; some tests send it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, with each file's tests as they stand in it."""
    tests = Path(__file__).parent
    items.sort(key=lambda item: place(item.path.relative_to(tests).as_posix()))
