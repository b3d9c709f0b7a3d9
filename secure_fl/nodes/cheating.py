"""A node that cheats, for simulations: it is told so at its own start, and never by a message.

An honest node does not load this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.members.keys import Signer
from secure_fl.faults import DENIAL, DENIAL_WITHOUT_RECEIPT
from secure_fl.nodes.attestation import Notary
from secure_fl.nodes.inbox import NodeSession


class CheatingNotary(Notary):
    """Signs for one session, but lies over some shares.

    Args:
        signer, session, ties: as of a `Notary`.
        faults: how it cheats, as `(round, hospital, kind)` (`secure_fl.faults`).
    """

    def __init__(
        self,
        signer: Signer,
        session: NodeSession,
        ties: Mapping[str, Any],
        faults: Sequence[tuple[int, int, str]],
    ) -> None:
        super().__init__(signer, session, ties)
        self._faults = {(number, hospital): kind for number, hospital, kind in faults}

    def _cheats(self, number: int, hospital: int, *kinds: str) -> bool:
        return self._faults.get((number, hospital)) in kinds

    def receipts(self, number: int) -> dict[int, str]:
        """Receipts for all but those shares that it will deny without one."""
        return {
            hospital: receipt
            for hospital, receipt in super().receipts(number).items()
            if not self._cheats(number, hospital, DENIAL_WITHOUT_RECEIPT)
        }

    def _claimed(self, number: int) -> frozenset[int]:
        """Whose shares opened, without those that it denies."""
        return frozenset(
            hospital
            for hospital in super()._claimed(number)
            if not self._cheats(number, hospital, DENIAL, DENIAL_WITHOUT_RECEIPT)
        )
