"""What hospitals sent in each round so far, so that a run that was cut off need not train again.

What follows from the updates of a round (rule, server, validators, ledger) is the same each time it
is computed. So a run that is begun again reads them, and trains from the first round on that is not
there. One file a round, complete or absent, is read as data and holds a hash of what the round
began with: a file that does not follow from the rounds before is not used. Nothing shows who wrote
it: whoever may write to the folder may send updates for the hospitals of a run that goes on there.

Updates lie there as they were sent, unshared: for runs in the clear alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from attacks.memory import Memory, pack, unpack
from ledger.files import parse_json, read_plain
from secure_fl.files import sha256, write_atomic
from secure_fl.simulation.attack_round import Acting
from secure_fl.simulation.folder import model_bytes
from secure_fl.simulation.knowledge import Scene

# Bytes of all files of a run, beyond which no further round is kept.
MOST = 2**30
_BYTES = torch.uint8


class Journal:
    """The rounds of one run.

    Attributes:
        folder: of this run's files alone; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._size = 0

    def read(self, scene: Scene) -> tuple[torch.Tensor, list[Acting]] | None:
        """Updates, float32 (n, d), and the attack's parts of a round, or None where it is to be
        played: its file is not there, is damaged or of another form, or does not follow from the
        rounds before."""
        try:
            written = read_plain(self._path(scene), MOST + 2**10)
        except (OSError, ValueError):
            return None  # not there, or no plain file
        digest, _, content = written.partition(b"\n")
        if digest.decode(errors="replace") != sha256(content):
            return None
        try:
            kept = unpack(content)
            parts = _parts(kept, scene)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None  # whole, and yet nothing that `write` writes
        updates = kept.get("updates")
        shape = (scene.context.federation.hospitals, scene.state.model.numel())
        if kept.get("begins") != _begins(scene) or not isinstance(updates, torch.Tensor):
            return None
        if updates.dtype != torch.float32 or updates.shape != shape:
            return None
        self._size += len(content)
        return updates, parts

    def write(self, scene: Scene, updates: torch.Tensor, acting: Sequence[Acting]) -> None:
        """Keep a round that was played, unless there is much already.

        Args:
            scene: the round.
            updates: float32 (n, d), as they were sent.
            acting: the attack's parts, with what they remember.
        """
        kept: dict[str, object] = {"begins": _begins(scene), "updates": updates}
        kept["acting"] = json.dumps([[part.index, part.seats] for part in acting])
        for part in acting:
            kept[_name(part.index)] = torch.frombuffer(bytearray(pack(part.memory)), dtype=_BYTES)
        content = pack(kept)
        self._size += len(content)
        if self._size <= MOST:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path(scene), sha256(content).encode() + b"\n" + content)

    def _path(self, scene: Scene) -> Path:
        return self.folder / f"{scene.number:05d}.round"


def _begins(scene: Scene) -> str:
    """What a round begins with, as a hash: the model, who takes part, who is suspended."""
    state = [scene.number, list(scene.active), scene.state.suspended.tolist()]
    return sha256(model_bytes(scene.state.model) + json.dumps(state).encode())


def _name(index: int) -> str:
    return f"memory-{index}"


def _parts(kept: Memory, scene: Scene) -> list[Acting]:
    """The attack's parts that acted.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: they are not what `Journal.write` writes,
            or not of this run's attack.
    """
    known, members = scene.context.attackers.parts, scene.context.malicious
    found = []
    for index, seats in parse_json(str(kept["acting"])):
        if not (index in range(len(known)) and set(seats) <= set(members)):
            raise ValueError(f"parts must be of the run's attack; got {index!r} with {seats!r}")
        packed = kept[_name(index)]
        if not isinstance(packed, torch.Tensor):
            raise TypeError(f"a memory must be bytes in a tensor; got {packed!r}")
        memory = unpack(packed.numpy().tobytes())
        found.append(Acting(index, known[index].attack, tuple(seats), memory))
    return found
