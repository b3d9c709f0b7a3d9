"""Pseudo-random words from AES-128 in counter mode.

Everything that hides a secret in `secure_fl.mpc` is drawn here or from the operating system:
torch's and NumPy's generators are predictable and are never used for masks or shares.
"""

from __future__ import annotations

import hmac
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = 16
_ZEROS = memoryview(bytes(1 << 20))
_BLOCK = 16


class Stream:
    """An endless stream of uniform 64-bit words determined by a 16-byte key.

    Two holders of the key who ask for the same sizes in the same order read the same words. A
    key must serve one stream only: the counter starts at zero.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"key must be {KEY_BYTES} bytes; got {len(key)}")
        self._key = key
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()

    def under(self, label: bytes) -> Stream:
        """Return a stream for a label, under a key that follows from this one's (HMAC-SHA-256).

        Of two labels the streams are independent, and of this one.
        """
        return Stream(hmac.digest(self._key, b"secure_fl request" + label, "sha256")[:KEY_BYTES])

    def words(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return uint64 words of the given shape."""
        shape = (shape,) if isinstance(shape, int) else shape
        size = int(np.prod(shape, dtype=np.int64)) * 8
        # update_into wants room for one block less a byte beyond the output.
        out = np.empty(size + _BLOCK - 1, np.uint8)
        view = out.data
        for start in range(0, size, len(_ZEROS)):
            stop = min(start + len(_ZEROS), size)
            self._encryptor.update_into(_ZEROS[: stop - start], view[start : stop + _BLOCK - 1])
        return out[:size].view(np.uint64).reshape(shape)

    def ring(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Return int64 words of the given shape: uniform elements of Z_2^64."""
        return self.words(shape).view(np.int64)


class Nonces:
    """Secret bytes that follow from a key, 32 at a time (HMAC-SHA-256 of a counter).

    Used beside a `Stream` under the same key, from which they are independent.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def draw(self) -> bytes:
        """Return the next 32 bytes."""
        self._count += 1
        label = b"secure_fl nonce" + self._count.to_bytes(8, "big")
        return hmac.digest(self._key, label, "sha256")


def fresh_stream() -> Stream:
    """Return a stream whose key comes from the operating system."""
    return Stream(os.urandom(KEY_BYTES))
