"""Independent random streams from one root seed.

Each purpose has its own branch of NumPy's `SeedSequence`, so adding a draw in one place moves no
draw elsewhere. No branch depends on the attack or the defence: two runs of one seed train on the
same batches in the same order (common random numbers), and differ by what is compared alone.
Secret shares, salts and privacy noise are not drawn here (`secure_fl.simulation.secret`).
"""

from __future__ import annotations

import numpy as np
import torch

# The position is part of the seed: append, never reorder. "noise" keeps its place, unused.
PURPOSES = (
    "partition",
    "balance",
    "model",
    "malicious",
    "training",
    "poison",
    "craft",
    "noise",
    "guard",
    "keys",
    "rows",
    "schedule",
    "attack",
    "public",
    "participation",
)


def sequence(seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """Branch of the root `seed` for one purpose, e.g. `sequence(0, "training", round)`."""
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *index))


def integer(seed: int, purpose: str, *index: int) -> int:
    """One 63-bit integer from a branch, for interfaces that take a plain seed."""
    return int(sequence(seed, purpose, *index).generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A torch generator started from a branch."""
    return torch.Generator().manual_seed(integer(seed, purpose, *index))


def numpy_generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator started from a branch."""
    return np.random.default_rng(sequence(seed, purpose, *index))
