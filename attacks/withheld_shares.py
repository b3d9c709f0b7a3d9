"""Withheld shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks.registry import attack
from attacks.share_breach import ShareBreach


@attack
@dataclass(frozen=True)
class WithheldShares(ShareBreach):
    """Every malicious hospital trains honestly and commits, but withholds a node's share.

    Nobody can tell who lies; the hospital sits the round out.
    Needs nodes that sign: a defence with a ledger on the mpc backend.

    Attributes:
        node: whose share it is, >= 0.
    """

    breach: ClassVar[str] = "withheld_share"
