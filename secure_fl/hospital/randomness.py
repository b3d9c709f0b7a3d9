"""Where a hospital takes its secrets from."""

from __future__ import annotations

import hashlib
import hmac
import secrets


class HospitalSecrets:
    """Where hospitals take salts and sharing keys from.

    From the operating system by default. Where one process simulates all hospitals they share a
    key; whoever knows it can undo their sharing.
    """

    def __init__(self, simulation_key: bytes | None = None) -> None:
        self._key = simulation_key

    def draw(self, label: str, size: int) -> bytes:
        """Return `size` (at most 64) secret bytes for a label that is used once."""
        if self._key is None:
            return secrets.token_bytes(size)
        return hmac.new(self._key, label.encode(), hashlib.sha512).digest()[:size]
