"""What nodes say to a contract, signed in their own processes."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.members.keys import Signature
from ledger.protocol.disputes import DeniedShare, SignedOpened, WrongShare


@dataclass(frozen=True)
class Findings:
    """What the nodes said of a round's shares, and what the hospitals answer.

    Attributes:
        opened: every node's signed statement, in order of rank.
        wrong_shares: evidence of shares delivered under other roots than those committed to.
        denials: hospitals' evidence of receipts for shares that a node says did not open.
        refused: why a hospital's share was not taken, by hospital, in words.
        cpu_ms: CPU milliseconds that hospitals and nodes spent on signing and checking.
    """

    opened: tuple[SignedOpened, ...]
    wrong_shares: tuple[WrongShare, ...]
    denials: tuple[DeniedShare, ...]
    refused: dict[int, str]
    cpu_ms: float


@dataclass(frozen=True)
class Signed:
    """Every node's signature on one statement, in order of rank, and what signing cost."""

    signatures: tuple[Signature, ...]
    cpu_ms: float
