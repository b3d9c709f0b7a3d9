"""Computing nodes of which some cheat, for simulations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secure_fl.backends.processes import Process, start
from secure_fl.backends.shared import MpcBackend
from secure_fl.errors import require
from secure_fl.faults import NODE_KINDS, Fault

_PROGRAM = "secure_fl.simulation.cheating_node"


class CheatingBackend(MpcBackend):
    """Nodes of which some cheat.

    Args:
        faults: nodes' own (`secure_fl.faults.NODE_KINDS`); who has none is started honest.
        options: as of an `MpcBackend`.

    Raises:
        InputError: a fault that is a hospital's.
    """

    def __init__(self, faults: Sequence[Fault], **options: Any) -> None:
        kinds = [fault.kind for fault in faults if fault.kind not in NODE_KINDS]
        require(not kinds, "faults", "nodes', of " + ", ".join(NODE_KINDS), kinds)
        self._faults = tuple(faults)
        super().__init__(**options)

    def _start_node(self, rank: int, options: dict[str, Any]) -> Process:
        own = [(f.round, f.hospital, f.kind) for f in self._faults if f.node == rank]
        if not own:
            return super()._start_node(rank, options)
        return start(f"node {rank}", _PROGRAM, {**options, "faults": own})
