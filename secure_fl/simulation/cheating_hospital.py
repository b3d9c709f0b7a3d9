"""Hospitals that break the protocol, for simulations: faults of a plan, and an attack's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from secure_fl.faults import (
    SHORT_SHARE,
    UNSIGNED_SHARE,
    USELESS_PROOF,
    WITHHELD_SHARE,
    WRONG_SHARE,
)
from secure_fl.hospital.hospital import Handed, Hospital
from secure_fl.hospital.sharing import commit
from secure_fl.nodes.shares import Delivery

# From integers (d,) and their width to the integers that are shared in their place.
Encoder = Callable[[torch.Tensor, int], torch.Tensor]


class CheatingHospital(Hospital):
    """A hospital that really sends what it should not.

    Args:
        rest: as of a `Hospital`.
        faults: kinds by (round, node).
    """

    def __init__(self, *rest: Any, faults: Mapping[tuple[int, int], str]) -> None:
        super().__init__(*rest)
        self._faults = dict(faults)
        self._encoders: dict[int, Encoder] = {}

    def instruct(self, number: int, faults: Mapping[int, str], encoder: Encoder | None) -> None:
        """What it does in one round, beside the faults that were planned at its start.

        Args:
            number: the round.
            faults: kinds by node.
            encoder: what it shares in place of its encoded update; None: that.
        """
        self._faults |= {(number, node): kind for node, kind in faults.items()}
        self._encoders = {} if encoder is None else {number: encoder}

    def encode(self, number: int, row: torch.Tensor, bits: int) -> torch.Tensor:
        """The integers, int64 (d,), that it shares for an update in a round."""
        honest = super().encode(number, row, bits)
        encoder = self._encoders.get(number)
        return honest if encoder is None else encoder(honest, bits)

    def _split(self, number: int, row: torch.Tensor, bits: int, nodes: int) -> list[np.ndarray]:
        shares = super()._split(number, row, bits, nodes)
        for rank in range(nodes):
            if self._faults.get((number, rank)) == SHORT_SHARE:
                shares[rank] = shares[rank][:-1]
        return shares

    def _delivery(self, handed: Handed, rank: int) -> Delivery | None:
        kind = self._faults.get((handed.number, rank))
        if kind == WITHHELD_SHARE:
            return None
        message, root = handed.messages[rank], handed.root
        if kind == WRONG_SHARE:
            handed.shares[rank] = handed.shares[rank] ^ 1
            root, others = commit(handed.shares, handed.salts)
            message = others[rank]
        if kind == USELESS_PROOF:
            message = message._replace(proof=[bytes(32) for _ in message.proof])
        delivery = self._signed(handed.number, rank, message, root)
        if kind in (WRONG_SHARE, UNSIGNED_SHARE):
            self._sent.pop(rank, None)  # it takes nobody to the contract over this one
        return delivery._replace(signature=b"") if kind == UNSIGNED_SHARE else delivery
