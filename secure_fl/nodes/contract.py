"""The contract that the members of a consortium sign for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # a node that signs nothing does not load what signs
    from ledger.protocol.messages import Messages


class Contract(NamedTuple):
    """Which contract, and the hospitals that it knows; no key.

    Attributes:
        chain_id: EIP-155 chain id.
        address: 20 bytes.
        hospitals: their addresses in order of seat, 20 bytes each.
    """

    chain_id: int
    address: bytes
    hospitals: tuple[bytes, ...]

    @property
    def messages(self) -> Messages:
        """Digests that members sign for this contract."""
        from ledger.protocol.messages import Messages
        from ledger.protocol.typed_data import Domain

        return Messages(Domain(self.chain_id, self.address))

    def to_json(self) -> dict[str, Any]:
        """As nodes are told of it."""
        return {
            "chain_id": self.chain_id,
            "contract": self.address.hex(),
            "hospitals": [account.hex() for account in self.hospitals],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Contract:
        """From fields that `secure_fl.nodes.fields.TIES` holds."""
        accounts = tuple(bytes.fromhex(account) for account in said["hospitals"])
        return cls(said["chain_id"], bytes.fromhex(said["contract"]), accounts)
