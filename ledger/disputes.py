"""What nodes and hospitals sign about shares in processes of their own, and what follows from it.

Needs no chain library: whoever signs imports nothing more than `ledger.keys`.
"""

from dataclasses import dataclass
from typing import Any

from ledger.keys import Signature
from ledger.typed_data import to_words


@dataclass(frozen=True)
class SignedOpened:
    """A node's statement whose shares opened their commitments there, with its signature."""

    node: int
    hospitals: tuple[int, ...]
    signature: Signature

    def words(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return self.node, to_words(self.hospitals), self.signature.r, self.signature.vs


@dataclass(frozen=True)
class WrongShare:
    """A node's evidence: the share that a hospital delivered is not the one it committed to.

    Attributes:
        hospital, node: whose share, and where.
        delivered: digest of the share as delivered, 32 bytes.
        delivery: the hospital's signature on that digest.
        accusation: the node's signature.
        leaf: digest that the hospital committed to for the node.
        proof: Merkle proof of the leaf.
    """

    hospital: int
    node: int
    delivered: bytes
    delivery: Signature
    accusation: Signature
    leaf: bytes
    proof: tuple[bytes, ...]

    def call(self, round_number: int) -> tuple[str, tuple[Any, ...]]:
        """The contract's function with its arguments."""
        signatures = [(s.r, s.vs) for s in (self.delivery, self.accusation)]
        place = (round_number, self.hospital, self.node)
        return "dispute_share", (*place, self.delivered, *signatures, self.leaf, list(self.proof))


@dataclass(frozen=True)
class DeniedShare:
    """A hospital's evidence: a node that denies its share signed a receipt for it.

    Attributes:
        hospital, node: whose share, and where.
        leaf: digest that the hospital committed to for the node.
        proof: Merkle proof of the leaf.
        receipt: the node's signature on that digest.
    """

    hospital: int
    node: int
    leaf: bytes
    proof: tuple[bytes, ...]
    receipt: Signature

    def call(self, round_number: int) -> tuple[str, tuple[Any, ...]]:
        """The contract's function with its arguments."""
        place = (round_number, self.hospital, self.node)
        receipt = (self.receipt.r, self.receipt.vs)
        return "dispute_denial", (*place, self.leaf, list(self.proof), receipt)


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
