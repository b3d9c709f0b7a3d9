"""What `pip install` brings: every file of the packages, and a command that runs from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("secure_fl", "ledger", "attacks", "eval", "configs")
BUILD = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"


def files(folder: Path) -> set[str]:
    """Every file below, but for what Python compiles."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build leaves its traces; without an index."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.pyc"))
    built, target = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("unpacked")
    command = [sys.executable, "-c", BUILD, str(built)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.mark.parametrize("name", FOLDERS)
def test_the_wheel_has_every_file(unpacked: Path, name: str) -> None:
    installed = {"configs": "secure_fl_configs"}.get(name, name)
    assert files(unpacked / installed) == files(ROOT / name)


def test_a_run_from_the_wheel_alone(unpacked: Path, tmp_path: Path) -> None:
    settings = "attack=sign_flip defences=[fedavg,paper] rounds=1 data.rows=1200 data.hospitals=4"
    command = [sys.executable, "-m", "eval.cli.main", "run", *settings.split(), "--out", "made"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "report.html").stat().st_size > 10_000
    where = [sys.executable, "-c", "import secure_fl; print(secure_fl.__file__)"]
    shown = subprocess.run(
        where, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(unpacked)}, capture_output=True
    )
    assert shown.stdout.decode().startswith(str(unpacked))
