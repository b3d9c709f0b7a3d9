"""The deployed contract, as functions to send and to read."""

from collections.abc import Sequence
from typing import Any

from ledger import contract
from ledger.chain import InProcessChain, Transaction, contract_address
from ledger.contract import Event
from ledger.keys import Signer
from ledger.members import Members, Messages
from ledger.parameters import Parameters
from ledger.typed_data import Domain

Call = tuple[str, tuple[Any, ...]]


class Connection:
    """One contract on one chain, and the key that pays for transactions.

    Attributes:
        address: 20-byte address of the contract.
        messages: digests that members sign for this contract.
    """

    def __init__(self, chain: InProcessChain, address: bytes, sender: Signer) -> None:
        self.chain = chain
        self.address = address
        self.messages = Messages(Domain(chain.chain_id, address))
        self._sender = sender

    @classmethod
    def deploy(
        cls, chain: InProcessChain, members: Members, parameters: Parameters
    ) -> "Connection":
        """Create the contract for the administrators and the coordinator among `members`."""
        sender = members.coordinator
        address = contract_address(sender.address, chain.nonce(sender.address))
        data = contract.encode_creation(
            [signer.address for signer in members.administrators],
            members.threshold,
            sender.address,
            parameters.rule_words(),
            parameters.limit_words(),
        )
        chain.send([Transaction("__init__", b"", data)], sender)
        return cls(chain, address, sender)

    def send(self, calls: Sequence[Call], sender: Signer | None = None) -> list[list[Event]]:
        """Put the calls into one block, all or none; returns the events of each.

        Args:
            calls: functions with their arguments.
            sender: who pays and calls, if not the coordinator.

        Raises:
            Reverted: the contract refused one.
        """
        transactions = [
            Transaction(name, self.address, contract.encode_call(name, *args))
            for name, args in calls
        ]
        receipts = self.chain.send(transactions, sender or self._sender)
        return [[contract.decode_event(log) for log in receipt.logs] for receipt in receipts]

    def read(self, name: str, *args: Any) -> Any:
        """Result of a view function: the value, or a tuple of several."""
        output = self.chain.call(name, self.address, contract.encode_call(name, *args))
        values = contract.decode_output(name, output)
        return values[0] if len(values) == 1 else values
