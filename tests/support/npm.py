"""Programs from npm that tests need, each installed once into a cache of this tree."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

CACHE = Path(__file__).parents[2] / ".cache"


def installed(
    name: str, packages: tuple[str, ...], finish: Callable[[Path], None] | None = None
) -> Path:
    """Folder of npm packages; the test is skipped, with the reason, where they cannot be had.

    Several processes may ask at once. The folder is put together beside its place and moved there
    when it is whole, so that an interrupted installation leaves nothing that looks like one.

    Args:
        name: of the folder, new for every change of packages.
        finish: prepares the folder further before it is moved.
    """
    place = CACHE / name
    if not place.exists():
        CACHE.mkdir(exist_ok=True)
        with FileLock(CACHE / f"{name}.lock"):
            reason = None if place.exists() else _install(place, packages, finish)
        if reason is not None:
            pytest.skip(f"{' '.join(packages)} cannot be installed: {reason}")
    return place


@cache  # a package index that does not answer is not asked again for every test
def _install(
    place: Path, packages: tuple[str, ...], finish: Callable[[Path], None] | None
) -> str | None:
    """Return why the packages cannot be had, None when they are there."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is missing"
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        folder = Path(scratch, place.name)
        folder.mkdir()
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--prefix", str(folder), *packages]
        try:
            done = subprocess.run(command, capture_output=True, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            return "npm gave no answer for four minutes"
        if done.returncode:
            return f"npm ended with {done.returncode}"
        if finish is not None:
            finish(folder)
        folder.rename(place)
    return None
