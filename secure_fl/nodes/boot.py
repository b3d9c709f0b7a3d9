"""Runs a module of this package as a process of its own: python -P boot.py MODULE [ARGUMENT]

Modules are looked for where Python and its packages are installed, and beside this package; not in
the current directory, nor in this file's, where a `random.py` would stand before Python's own.
"""

import runpy
import sys
from pathlib import Path

PACKAGES = ("site-packages", "dist-packages")


def find_package(path: list[str], root: str) -> None:
    """Put the package's folder behind the standard library, before other packages."""
    if root not in path:
        places = [i for i, place in enumerate(path) if Path(place).name in PACKAGES]
        path.insert(min(places, default=len(path)), root)


if __name__ == "__main__":
    find_package(sys.path, str(Path(__file__).resolve().parents[2]))
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
