"""The program of `tests.support.warm`: has loaded what most programs need, and becomes one of them.

What is imported here is what `secure-fl run`, `report` and `audit` import when they are needed.
"""

# ruff: noqa: E402 - what must not be loaded is shut out before the imports

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

# pandas loads it where it is installed, and it starts a thread, beside which nothing can be forked.
sys.modules["pyarrow"] = None  # type: ignore[assignment]

import attacks  # noqa: F401
import eval.audit.run
import eval.cli.main
import eval.jobs.grid  # noqa: F401
import secure_fl.backends.shared
import secure_fl.settings.config  # noqa: F401

del sys.modules["pyarrow"]


def main() -> NoReturn:
    """In the fork: become the program, `FILE ...`, `-m MODULE ...` or `-c CODE ...`."""
    told = json.loads(sys.stdin.readline())
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    for number, path in enumerate(told["streams"], start=1):
        descriptor = os.open(path, os.O_WRONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first, *rest = told["arguments"]
    if first == "-c":
        code, *rest = rest
        sys.argv[:] = ["-c", *rest]
        sys.path.insert(0, "")
        program = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(program))
    elif first == "-m":
        sys.argv[:] = rest
        sys.path.insert(0, told["folder"])
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = [first, *rest]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")
    raise SystemExit(0)  # the interpreter's own end, with all that a program leaves to it
