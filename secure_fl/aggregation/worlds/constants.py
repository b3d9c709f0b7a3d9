"""Public numbers of fixed-point arithmetic: directions, weights of bits, and how units relate."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from secure_fl.aggregation.ops import exact_length
from secure_fl.errors import require

REFERENCE_BITS = 30
"""A public direction is scaled to length 2^30."""


def unit_direction(reference: torch.Tensor) -> torch.Tensor:
    """Return a public (d,) direction scaled to Euclidean length 2^30, rounded to int64."""
    vector = reference.to(torch.float64)
    require(bool(vector.isfinite().all()), "reference", "finite", "a vector with NaN or infinity")
    norm = exact_length(vector)
    if norm == 0:
        return torch.zeros_like(vector, dtype=torch.int64)
    return torch.round(vector / norm * 2**REFERENCE_BITS).to(torch.int64)


def differences(weights: torch.Tensor) -> torch.Tensor:
    """Return w' with sum_e w_e onehot_e = sum_e w'_e thermometer_e."""
    return torch.diff(weights, prepend=torch.zeros(1, dtype=weights.dtype))


def is_power_of_two(unit: float) -> bool:
    """Whether a unit is 2^k for a whole k."""
    return math.frexp(unit)[0] == 0.5


def public_factor(value: float) -> tuple[int, int]:
    """Return integers M, s with value = M 2^-s, rounded to 17 bits or 16 fractional ones.

    M is odd, or 0, and below 2^30; s may be negative.

    Example:
        >>> public_factor(2.25), public_factor(0.25), public_factor(-3e9)
        ((9, 2), (1, 2), (-732421875, -12))
    """
    exponent = math.frexp(value)[1]  # |value| < 2^exponent
    shift = min(max(16, 17 - exponent), 30 - exponent)
    integer = round(Fraction(value) * Fraction(2) ** shift)
    while integer and integer % 2 == 0:
        integer, shift = integer // 2, shift - 1
    return integer, shift


def ratio(coarse: float, fine: float) -> int:
    """Return how many steps of the finer unit a step of the coarser one is.

    Raises:
        InputError: no whole number.
    """
    quotient = coarse / fine
    require(quotient == int(quotient), "units", "related by a whole factor", (coarse, fine))
    return int(quotient)


def extra_bits(factor: int) -> int:
    """Return by how many bits numbers get wider, times a whole factor: ceil(log2(factor))."""
    return (factor - 1).bit_length()
