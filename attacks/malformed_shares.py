"""Malformed shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.registry import attack
from attacks.share_breach import ShareBreach


@attack
@dataclass(frozen=True)
class MalformedShares(ShareBreach):
    """Every malicious hospital trains honestly, and sends a node a share that it cannot use.

    The share is too short, comes with a proof that leads nowhere, or is not signed. Nobody can tell
    who lies; the hospital sits the round out. Needs nodes that sign: a defence with a ledger on the
    mpc backend.

    Attributes:
        kind: what is wrong with the share.
        node: whose share it is, >= 0.
    """

    kind: Literal["short_share", "useless_proof", "unsigned_share"] = "short_share"

    def kind_of_breach(self) -> str:
        """As the parameter says."""
        return self.kind
