"""What one key sent to a node, kept until its receipts are there and beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.chains.in_process import Transaction
from ledger.members.keys import keccak

# Transactions kept for a node that loses its newest blocks.
KEPT = 256


@dataclass(frozen=True)
class Sent:
    """A signed transaction: what it was made from, its number and its bytes."""

    transaction: Transaction
    nonce: int
    raw: bytes

    @property
    def hash(self) -> str:
        """Its hash, as the node names it."""
        return "0x" + keccak(self.raw).hex()


@dataclass
class Journal:
    """What one key sent.

    Attributes:
        first: the number of its first transaction; those below are another program's.
        kept: the newest transactions by number.
        open: those whose receipt no caller has got yet, by address and data.
    """

    first: int | None = None
    kept: dict[int, Sent] = field(default_factory=dict)
    open: dict[tuple[bytes, bytes], Sent] = field(default_factory=dict)

    @property
    def following(self) -> int:
        """The number after the last one sent; 0 if none was."""
        return max(self.kept, default=-1) + 1

    def keep(self, sent: Sent) -> None:
        """Take in a transaction before it is sent."""
        self.first = sent.nonce if self.first is None else self.first
        self.kept[sent.nonce] = sent
        self.open[sent.transaction.to, sent.transaction.data] = sent
        for nonce in sorted(self.kept)[:-KEPT]:
            del self.kept[nonce]

    def forget(self, sent: Sequence[Sent]) -> None:
        """Drop transactions that no chain will ever hold."""
        for one in sent:
            self.kept.pop(one.nonce, None)
        self.answered(sent)

    def answered(self, sent: Sequence[Sent]) -> None:
        """Their caller has got the receipts."""
        for one in sent:
            self.open.pop((one.transaction.to, one.transaction.data), None)
