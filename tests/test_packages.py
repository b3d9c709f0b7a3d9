"""What is installed is what is here: packages and their data, as `pyproject.toml` lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP = ("attacks", "configs", "eval", "ledger", "secure_fl")
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
# Names of packages by folder, where they differ.
NAMED = {folder: name for name, folder in SETUP["package-dir"].items()}


def packages() -> dict[str, Path]:
    """Every folder with Python files, by the name under which it is imported."""
    found = {path.parent for top in TOP for path in (ROOT / top).rglob("*.py")}
    # Templates are text that `secure-fl new` fills in.
    kept = [path.relative_to(ROOT) for path in found if path.name != "templates"]
    return {NAMED.get(str(path), ".".join(path.parts)): ROOT / path for path in kept}


def test_every_package_is_listed_and_none_that_is_not_here() -> None:
    listed = SETUP["packages"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(packages())
    assert all((folder / "__init__.py").exists() for folder in packages().values())


def test_every_other_file_is_of_a_packages_data() -> None:
    """What is no module, and what lies in no package, is matched by a pattern of one above it."""
    folders = packages()
    matched = {
        path
        for name, patterns in SETUP["package-data"].items()
        for pattern in patterns
        for path in folders[name].glob(pattern)
    }
    modules = {path for folder in folders.values() for path in folder.glob("*.py")}
    files = {
        path
        for top in TOP
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files - modules - matched == set()
    assert {path.suffix for path in matched} >= {".npz", ".gz", ".yaml", ".json", ".html", ".css"}
    empty = [
        pattern
        for name, patterns in SETUP["package-data"].items()
        for pattern in patterns
        if not any(folders[name].glob(pattern))
    ]
    assert empty == []
