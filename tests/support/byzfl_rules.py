"""ByzFL's aggregators without its benchmark, whose plots and data sets need far more than these."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest


def byzfl_aggregators() -> ModuleType:
    """Import `byzfl.aggregators`; a test that asks for it is skipped where ByzFL is not installed.

    The package's own first file imports all of it; a bare package stands in its place.
    """
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("byzfl is not installed: `make setup` does it")
    if "byzfl" not in sys.modules:
        bare = ModuleType("byzfl")
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules["byzfl"] = bare
    return importlib.import_module("byzfl.aggregators")
