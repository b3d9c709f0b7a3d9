"""Nodes and dealer as local processes: started, and stopped without leaving one behind."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_fl.backends.launchers import Party, launcher
from secure_fl.errors import NodeFailure
from secure_fl.mpc.transport import Channel

_GRACE_SECONDS = 5.0
# Exit status of a process that lost a peer.
_GAVE_UP = 3
# Circuits allocate and free the same megabytes hundreds of times a second: let glibc keep them
# instead of giving them back to the system each time (a fifth of the time of a median).
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
# A party computes in one thread, and a launcher has one when it forks.
_THREADS = {f"{library}_NUM_THREADS": "1" for library in ("MKL", "OMP", "OPENBLAS")}
# What a party's process gets of our environment: where Python, its packages and temporary files
# are, and how text is read and written. No password, no token.
_KEPT = (
    "DYLD_LIBRARY_PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONIOENCODING",
    "PYTHONNOUSERSITE",
    "PYTHONPYCACHEPREFIX",
    "PYTHONUSERBASE",
    "PYTHONUTF8",
    "TMPDIR",
)


@dataclass
class Process:
    """A started process, with its control channel once it has connected."""

    name: str
    handle: Party
    control: Channel | None = None

    @property
    def channel(self) -> Channel:
        """The control channel; raises `NodeFailure` before it is connected."""
        if self.control is None:
            raise NodeFailure(f"{self.name} is not connected")
        return self.control


def environment(ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a party's process: a short list of ours.

    PYTHONPATH goes along without the current directory.
    """
    kept = {name: ours[name] for name in _KEPT if name in ours}
    here = Path.cwd()
    places = [p for p in ours.get("PYTHONPATH", "").split(os.pathsep) if p]
    if places := [p for p in places if Path(p).is_absolute() and Path(p).resolve() != here]:
        kept["PYTHONPATH"] = os.pathsep.join(places)
    return {**kept, **_ALLOCATOR, **_THREADS}


def prepare(*programs: str) -> None:
    """Begin to load programs that parties will be forked from, side by side."""
    for program in programs:
        launcher(program, environment())


def start(name: str, module: str, options: dict[str, Any]) -> Process:
    """Start one process in a session of its own, so that Ctrl-C reaches only us.

    It is a fork of its program's launcher (`secure_fl.nodes.launcher`), finds no module in the
    current directory, and what is meant for it alone, keys and passwords among it, comes on its
    standard input.

    Raises:
        NodeFailure: its program cannot be loaded, or not within `options["start"]` seconds.
    """
    text = (json.dumps(options) + "\n").encode()
    try:
        handle = launcher(module, environment()).fork(text, float(options["start"]))
    except NodeFailure as failure:
        raise NodeFailure(f"{name}: {failure}") from failure
    return Process(name, handle)


def stop(processes: list[Process]) -> None:
    """Ask all to stop, wait, and kill what is left."""
    for process in processes:
        if process.control is not None:
            process.control.socket.settimeout(_GRACE_SECONDS)  # one that hangs takes nothing
            with contextlib.suppress(NodeFailure):
                process.control.send({"do": "stop"})
            process.control.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        if process.control is None:
            process.handle.kill()
        try:
            process.handle.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            process.handle.kill()
            process.handle.wait()
    processes.clear()


def stop_own(processes: list[Process], owner: int) -> None:
    """Stop processes; a fork of the program `owner` that started them leaves them alone."""
    if os.getpid() == owner:
        stop(processes)


def failure(processes: list[Process], process: Process | None, cause: Exception) -> NodeFailure:
    """Say which process ended, if one was killed or crashed: complaints are consequences."""
    time.sleep(0.2)
    for other in processes:
        status = other.handle.poll()
        if status not in (None, 0, _GAVE_UP):
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            return NodeFailure(f"{other.name} stopped unexpectedly ({how})")
    name = "a process" if process is None else process.name
    return NodeFailure(f"{name} failed: {cause}")


def kill(processes: list[Process]) -> None:
    """End all without a word, where a frame may be half sent.

    Channels first: parties that lose each other while one after the other is killed see that
    nobody listens any more (`secure_fl.nodes.hangup`).
    """
    for process in processes:
        if process.control is not None:
            process.control.close()
    for process in processes:
        process.handle.kill()
    for process in processes:
        process.handle.wait()
    processes.clear()
