"""What nodes and hospitals sign about shares in processes of their own, and what follows from it.

Needs no chain library: whoever signs imports nothing more than `ledger.members.keys`.
"""

from dataclasses import dataclass
from typing import Any

from ledger.members.keys import Signature
from ledger.protocol.typed_data import to_words


@dataclass(frozen=True)
class SignedOpened:
    """A node's statement whose shares opened the roots delivered with them, with its signature."""

    node: int
    hospitals: tuple[int, ...]
    signature: Signature

    def words(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return self.node, to_words(self.hospitals), self.signature.r, self.signature.vs


@dataclass(frozen=True)
class WrongShare:
    """Evidence that a hospital delivered a share under another root than it committed to.

    Attributes:
        hospital, node: whose share, and where.
        digest: of the share as delivered, 32 bytes.
        root: that the share opens, as the hospital signed with it, 32 bytes.
        delivery: the hospital's signature on both.
    """

    hospital: int
    node: int
    digest: bytes
    root: bytes
    delivery: Signature

    def call(self, round_number: int) -> tuple[str, tuple[Any, ...]]:
        """The contract's function with its arguments."""
        place = (round_number, self.hospital, self.node)
        delivery = (self.delivery.r, self.delivery.vs)
        return "dispute_share", (*place, self.digest, self.root, delivery)


@dataclass(frozen=True)
class DeniedShare:
    """A hospital's evidence: a node that denies its share signed that it opened its root.

    Attributes:
        hospital, node: whose share, and where.
        digest: of the share, 32 bytes.
        receipt: the node's signature on digest and root.
    """

    hospital: int
    node: int
    digest: bytes
    receipt: Signature

    def call(self, round_number: int) -> tuple[str, tuple[Any, ...]]:
        """The contract's function with its arguments."""
        place = (round_number, self.hospital, self.node)
        return "dispute_denial", (*place, self.digest, (self.receipt.r, self.receipt.vs))


@dataclass(frozen=True)
class Ruling:
    """How the contract decided a dispute.

    Attributes:
        hospital, node: over whose share, and where.
        at_fault: "hospital", "node", or "" where the evidence was refused.
        reason: why the evidence was refused.
    """

    hospital: int
    node: int
    at_fault: str
    reason: str = ""
