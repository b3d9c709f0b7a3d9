"""Run a CrypTen program unchanged over direct TCP connections in place of gloo.

usage: python -m secure_fl.mpc.over_tcp SCRIPT [ARGUMENT ...]
       python -m secure_fl.mpc.over_tcp -m MODULE [ARGUMENT ...]

`crypten.init()` then ends with `use_tcp()`, in this process and in those it forks, as CrypTen's
own tests do.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from functools import wraps
from typing import Any

from secure_fl.mpc.communicator import use_tcp
from secure_fl.mpc.compat import import_crypten


def patch_init() -> None:
    """Let `crypten.init()` move to TCP wherever there are several parties."""
    crypten = import_crypten()
    init = crypten.init

    @wraps(init)
    def init_and_move(*args: Any, **kwargs: Any) -> None:
        already = crypten.is_initialized()
        init(*args, **kwargs)
        communicator = crypten.communicator.get()
        if not already and 1 < communicator.get_world_size() > communicator.get_rank():
            use_tcp()

    crypten.init = init_and_move  # type: ignore[attr-defined]


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns the exit status where it ends without one."""
    if not arguments or arguments == ["-m"]:
        print(__doc__, file=sys.stderr)
        return 2
    patch_init()
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
