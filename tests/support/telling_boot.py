"""Starts a party as `secure_fl.nodes.boot` does, and writes down what it had loaded in the end.

A test copies this file into a folder of its own and has it started in the place of the real one.
The list goes there too, into `MODULE-PID`, one name a line.
"""

import atexit
import importlib.util
import os
import runpy
import sys
from pathlib import Path


def tell() -> None:
    """Write the names of all modules loaded, as the process ends."""
    listed = "".join(f"{name}\n" for name in sorted(sys.modules))
    (Path(__file__).parent / f"{sys.argv[1]}-{os.getpid()}").write_text(listed)


if __name__ == "__main__":
    atexit.register(tell)
    (package,) = importlib.util.find_spec("secure_fl").submodule_search_locations
    runpy.run_path(f"{package}/nodes/boot.py", run_name="__main__")
