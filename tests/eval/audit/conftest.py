"""A small job with a ledger, once for all tests of a worker; each changes a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eval.report.report import write_report
from tests.support import tiny_job
from tests.support.audited import (
    ROUNDS,
)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_job.run(tmp_path_factory.mktemp("job") / "named", [ROUNDS])
    write_report(folder)
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy under another name, without its pages."""
    folder = Path(shutil.copytree(original, tmp_path / "renamed"))
    shutil.rmtree(folder / "figures")
    for name in ("report.html", "explorer.html"):
        (folder / name).unlink()
    return folder


@pytest.fixture
def drawn(original: Path, tmp_path: Path) -> Path:
    """A copy under another name, pages and all."""
    return Path(shutil.copytree(original, tmp_path / "renamed"))
