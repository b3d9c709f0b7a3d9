"""Starts a program as `secure_fl.nodes.boot` does, and writes down what it had loaded in the end.

A test copies this file into a folder of its own and has launchers started in the place of the real
one. Lists go there too, of the launcher and of each party, into `PROGRAM-PID`, one name a line.
"""

import atexit
import importlib.util
import os
import runpy
import sys
from pathlib import Path

PROGRAM = sys.argv[2]


def tell() -> None:
    """Write the names of all modules loaded, as the process ends."""
    listed = "".join(f"{name}\n" for name in sorted(sys.modules))
    (Path(__file__).parent / f"{PROGRAM}-{os.getpid()}").write_text(listed)


def told_exit(status: int) -> None:
    """Tell, where a party ends without what the interpreter does at its end."""
    tell()
    end(status)


if __name__ == "__main__":
    end, os._exit = os._exit, told_exit
    atexit.register(tell)
    (package,) = importlib.util.find_spec("secure_fl").submodule_search_locations
    runpy.run_path(f"{package}/nodes/boot.py", run_name="__main__")
