"""A rule tried out on its ranges alone, before anything runs.

Ranges are public: they follow from the rule, n, d and the round. One column of zeros that declares
d coordinates goes through the integers' operations, every screen keeping everybody; what could
wrap in any round is found so, in milliseconds.
"""

from __future__ import annotations

import math

import torch

from secure_fl.aggregation.openings import UNIT, Permit
from secure_fl.aggregation.ops import Secret, Updates
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.aggregation.running import run
from secure_fl.aggregation.surroundings import Surroundings
from secure_fl.aggregation.worlds.clear_ring import ClearMatrix, ClearRing
from secure_fl.aggregation.worlds.fixedpoint import FixedPoint
from secure_fl.errors import InputError, require


class _OneColumn(ClearRing):
    """A ring whose matrices hold one column in the place of all d."""

    def columns(self, x: ClearMatrix, indices: list[int]) -> ClearMatrix:
        return x

    def reshaped(self, a: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        whole = a.numel() == math.prod(shape)
        return a.reshape(shape) if whole else a  # one column, as it is, for all

    def shift(self, x: ClearMatrix, by: torch.Tensor, bits: int) -> ClearMatrix:
        return ClearMatrix(x.values, bits)


class _KeepingOps(FixedPoint):
    """Opens every flag as set: later stages then have all rows, and the widest ranges."""

    def __init__(self) -> None:
        super().__init__(_OneColumn())

    def shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates:
        return super().shift(x, by if isinstance(by, Secret) else by.expand(x.shape[1]))

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        permit.spend(secret.shape, secret.is_bit)
        if secret.is_bit:
            return torch.ones(secret.shape, dtype=torch.bool)
        return torch.zeros(secret.shape, dtype=torch.float64)


def rehearse_ranges(rule: Pipeline, hospitals: int, dim: int, rounds: int = 1) -> None:
    """Check that all numbers of a rule fit the ring in every round, whatever hospitals send.

    Args:
        rule: to be run in the fixed or mpc backend.
        hospitals: n, all of whom take part in every round.
        dim: d.
        rounds: planned; rules without state are the same in each.

    Raises:
        InputError: they could wrap; with the first round in which they do.
    """
    require(rounds >= 0, "rounds", "at least 0", rounds)
    everybody, ones = range(hospitals), torch.ones(hospitals)
    states = rule.init()
    stateful = any(state is not None for state in states)
    for number in range(1, (rounds if stateful else min(rounds, 1)) + 1):
        zeros = ClearMatrix(torch.zeros((hospitals, 1), dtype=torch.int64), rule.bits)
        x = Updates(zeros, (hospitals, dim), UNIT)
        last, model = torch.full((1,), rule.limit, dtype=torch.float64), torch.ones(1)
        seen = Surroundings(number, last=last, model=model)
        try:
            _, _, states = run(
                rule,
                states,
                _KeepingOps(),
                x,
                everybody,
                ones,
                ones,
                dim,
                torch.ones(1),
                surroundings=seen,
            )
        except InputError as error:
            raise InputError(f"round {number} of {rounds}: {error}") from error
