"""Between integers and bit planes: plane j holds bit j of 64 coordinates to a word."""

from __future__ import annotations

import numpy as np

WORD_BITS = 64


def word_count(bits: int) -> int:
    """Return the number of 64-bit words that hold `bits` bits."""
    return -(-bits // WORD_BITS)


def unpack_bits(words: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` bits of packed words (..., W) as int64 (..., count)."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(np.int64)


def to_planes(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the low bits of integers (rows, columns) as words (bits, rows, W).

    Column c is bit c % 64 of word c // 64; missing columns are zero.
    """
    rows, columns = values.shape
    width = word_count(columns) * WORD_BITS
    octets = np.ascontiguousarray(values.astype("<i8", copy=False)).view(np.uint8)
    octets = octets.reshape(rows, columns, 8)
    planes = np.zeros((bits, rows, width // WORD_BITS), np.uint64)
    for j in range(bits):
        if j % 8 == 0:
            octet = np.ascontiguousarray(octets[:, :, j // 8])
        packed = np.packbits(octet & np.uint8(1 << j % 8), axis=-1, bitorder="little")
        planes[j].view(np.uint8)[:, : packed.shape[1]] = packed
    return planes


def from_planes(planes: np.ndarray, columns: int) -> np.ndarray:
    """Return unsigned integers (rows, columns) from words (bits, rows, W)."""
    total = np.zeros((planes.shape[1], columns), np.int64)
    for j, plane in enumerate(planes):
        total += unpack_bits(plane, columns) << j
    return total
