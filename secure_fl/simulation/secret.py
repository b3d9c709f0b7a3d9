"""The secret of a run: what simulated hospitals, and simulated members of a ledger, draw from.

It comes from the operating system, lives in the memory of the process that runs, and is written
nowhere: a run that is resumed has another one. `repeatable_secrets: true` takes it from the public
seed instead, so that commitments, chains and noise repeat to the last bit; whoever reads the
settings can then undo the sharing, take the noise off and sign for every simulated member.

Nothing that a run measures depends on it, privacy noise excepted.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from secure_fl import seeds
from secure_fl.settings.schema import ExperimentConfig

SECRET_BYTES = 32


@dataclass(frozen=True, repr=False)
class CellSecrets:
    """What one cell draws from; no two of these, in this run or another, agree.

    Attributes:
        sharing: key of the hospitals' masks and salts
            (`secure_fl.hospital.randomness.HospitalSecrets`).
        noise: key of the hospitals' privacy noise.
        chain: 32 bytes to tell this cell's chain from every other.
    """

    sharing: bytes
    noise: bytes
    chain: bytes


class RunSecret:
    """A run's secret, from which all others are derived by HMAC-SHA-512.

    Attributes:
        repeatable: whether it follows from the public seed, and so protects nothing.
    """

    def __init__(self, experiment: ExperimentConfig) -> None:
        self.repeatable = experiment.repeatable_secrets
        if self.repeatable:
            text = f"secure-fl repeatable secrets, not secret: {experiment.seed}"
            self._key = hashlib.sha256(text.encode()).digest()
        else:
            self._key = secrets.token_bytes(SECRET_BYTES)

    def cell(self, settings_sha256: str, data_sha256: str) -> CellSecrets:
        """Secrets of a cell, bound to all its settings and to the data.

        Args:
            settings_sha256: of the cell (`secure_fl.simulation.run.RunConfig.sha256`).
            data_sha256: of the data (`secure_fl.simulation.prepare.Federation.data_sha256`).
        """
        bound = (settings_sha256, data_sha256)
        return CellSecrets(*(self._derive(use, *bound) for use in ("sharing", "noise", "chain")))

    def members_seed(self) -> int:
        """Seed of the ledger keys of simulated members, in this process and its nodes."""
        return int.from_bytes(self._derive("members"), "big")

    def _derive(self, *label: str) -> bytes:
        text = "\0".join(label).encode()
        return hmac.new(self._key, text, hashlib.sha512).digest()[:SECRET_BYTES]


def public_members_seed(experiment: ExperimentConfig) -> int:
    """Seed of simulated members' keys on a development node, which must know them beforehand.

    It follows from the public seed: these keys protect nothing.
    """
    return seeds.integer(experiment.seed, "keys")
