"""Equivocation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks.registry import attack
from attacks.share_breach import ShareBreach


@attack
@dataclass(frozen=True)
class Equivocation(ShareBreach):
    """Every malicious hospital trains honestly, and sends a node another share than it promised.

    It commits to one root on the chain, and signs the share for the node under another. The
    node holds both with the hospital's signatures; the contract finds the hospital at fault.
    Needs nodes that sign: a defence with a ledger on the mpc backend.

    Attributes:
        node: whose share it is, >= 0.
    """

    breach: ClassVar[str] = "wrong_share"
