"""CrypTen's own tests, as its wheel brings them, moved to our TCP connections unchanged.

Deselected by default; `docs/reproducing.md` has the command.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Tests in each, and those that fail over gloo just so: `torch.load` of today's PyTorch refuses the
# classes in the cache that `test_tuple_cache` writes.
SUITES: dict[str, tuple[int, list[str]]] = {
    "test_communicator": (19, []),
    "test_binary": (21, []),
    "test_mpc.TestTFP": (78, ["test_tuple_cache"]),
    "test_mpc.TestTTP": (78, ["test_tuple_cache"]),
    "test_mpc.TestRSS": (78, []),
}


def unpack(target: Path) -> None:
    """Copy the wheel's tests and their settings; in site-packages, Python's `test` hides them."""
    for file in importlib.metadata.files("crypten") or ():
        if file.parts[0] in ("test", "configs") and file.suffix != ".pyc":
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target / file)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suite", SUITES)
def test_crypten_passes_its_own_tests_over_tcp(suite: str, tmp_path: Path) -> None:
    unpack(tmp_path)
    command = [sys.executable, "-m", "secure_fl.mpc.over_tcp", "-m", "unittest", f"test.{suite}"]
    # Several parties of several threads each on the cores of one machine only wait for each other.
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True
    )
    said = done.stderr.decode()
    expected, failing = SUITES[suite]
    assert f"Ran {expected} tests" in said, said[-2000:]
    assert re.findall(r"^(?:FAIL|ERROR): (\w+)", said, re.MULTILINE) == failing, said[-2000:]
