"""Run a CrypTen program unchanged over direct TCP connections in place of gloo.

usage: python -m secure_fl.mpc.over_tcp SCRIPT [ARGUMENT ...]
       python -m secure_fl.mpc.over_tcp -m MODULE [ARGUMENT ...]

`crypten.init()` then ends with `use_tcp()`, in this process and in those that it starts with
`multiprocessing`, forked or spawned, as CrypTen's own tests do.
"""

from __future__ import annotations

import multiprocessing.spawn
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from secure_fl.mpc.communicator import use_tcp
from secure_fl.mpc.compat import import_crypten

USAGE = """usage: python -m secure_fl.mpc.over_tcp SCRIPT [ARGUMENT ...]
       python -m secure_fl.mpc.over_tcp -m MODULE [ARGUMENT ...]"""


class _PatchOnArrival:
    """Calls `patch_init` where it is unpickled: in a spawned process, before its work starts."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return patch_init, ()


def patch_init() -> None:
    """Let `crypten.init()` move to TCP wherever there are several parties.

    Spawned processes start from nothing, so what `multiprocessing` tells them to prepare with
    carries the patch along.
    """
    crypten = import_crypten()
    init = crypten.init
    prepare = multiprocessing.spawn.get_preparation_data

    @wraps(prepare)
    def prepare_and_patch(name: str) -> dict[str, Any]:
        return {**prepare(name), "secure_fl": _PatchOnArrival()}

    @wraps(init)
    def init_and_move(*args: Any, **kwargs: Any) -> None:
        already = crypten.is_initialized()
        init(*args, **kwargs)
        communicator = crypten.communicator.get()
        if not already and 1 < communicator.get_world_size() > communicator.get_rank():
            use_tcp()

    crypten.init = init_and_move  # type: ignore[attr-defined]
    multiprocessing.spawn.get_preparation_data = prepare_and_patch


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns the exit status where it ends without one."""
    if not arguments or arguments == ["-m"]:
        print(USAGE, file=sys.stderr)
        return 2
    patch_init()
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        if not sys.flags.safe_path:  # as `python SCRIPT` has it: the script's folder, not this one
            sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    # Spawned processes find `patch_init` by this module's name, while the program is `__main__`.
    from secure_fl.mpc import over_tcp

    sys.exit(over_tcp.main(sys.argv[1:]))
