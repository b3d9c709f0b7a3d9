"""Hospitals that break the protocol, for simulations (`secure_fl.faults`)."""

from __future__ import annotations

from collections.abc import Mapping
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


class CheatingHospital(Hospital):
    """A hospital that really sends what it should not.

    Args:
        rest: as of a `Hospital`.
        faults: kinds by (round, node).
    """

    def __init__(self, *rest: Any, faults: Mapping[tuple[int, int], str]) -> None:
        super().__init__(*rest)
        self._faults = dict(faults)

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
