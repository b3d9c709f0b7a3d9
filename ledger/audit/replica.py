"""A private EVM that executes a contract's transactions from a node's chain once more.

What the contract sees is the same: chain id, sender, number of the transaction (which with the
sender gives the contract's address), call, value, gas and the number of the block. The block around
it is not made again; the contract of this package reads nothing else of it, and a test holds it to
that.
"""

from dataclasses import dataclass
from typing import Any

import ledger.chains.pyevm  # noqa: F401 - before eth

# isort: split

from eth.abc import ExecutionContextAPI, SignedTransactionAPI
from eth.exceptions import UnrecognizedTransactionType
from eth.vm.execution_context import ExecutionContext
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_typing import BlockNumber
from eth_utils import ValidationError
from rlp.exceptions import RLPException

from ledger.chains.blocks import Emitted, contract_address
from ledger.chains.in_process import BALANCE, GAS_LIMIT, Genesis, InProcessChain
from ledger.errors import LedgerError, Reverted
from ledger.protocol.contract import Log, revert_reason

_UNREADABLE = (ValidationError, BadSignature, UnrecognizedTransactionType, RLPException)


@dataclass(frozen=True)
class Outcome:
    """A transaction executed again.

    Attributes:
        sender: 20-byte address that signed it.
        to: 20-byte address that it called, or of the contract that it created.
        data: the call.
        succeeded: False if it was refused.
        emitted: its log entries.
    """

    sender: bytes
    to: bytes
    data: bytes
    succeeded: bool
    emitted: tuple[Emitted, ...]


def numbered(context: ExecutionContextAPI, block: int) -> ExecutionContextAPI:
    """The same surroundings, in the block of another number."""
    return ExecutionContext(
        coinbase=context.coinbase,
        timestamp=context.timestamp,
        block_number=BlockNumber(block),
        difficulty=context.difficulty,
        mix_hash=context.mix_hash,
        gas_limit=context.gas_limit,
        prev_hashes=(),
        chain_id=context.chain_id,
        base_fee_per_gas=context.base_fee_per_gas,
        excess_blob_gas=context.excess_blob_gas,
    )


class Replica:
    """An empty state that only a contract's own transactions change."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._state, self._builder = InProcessChain(Genesis(chain_id, 0, ())).bare_state()

    def execute(self, raw: bytes, block: int) -> Outcome:
        """Execute a signed transaction as the next one, in the block of this number.

        Its sender has the funds and has sent as many transactions before as it says; whether that
        was so on the node's chain is the node's business.

        Raises:
            LedgerError: it is not signed for this chain, or of a type that the private EVM does not
                know (those of the fork after Cancun).
        """
        transaction = self._decode(raw)
        sender = bytes(transaction.sender)
        if transaction.chain_id != self._chain_id:
            raise LedgerError(f"a transaction for chain {transaction.chain_id}")
        try:
            self._state.lock_changes()
            self._state.execution_context = numbered(self._state.execution_context, block)
            self._state.set_balance(sender, BALANCE + transaction.value)
            self._state.set_nonce(sender, transaction.nonce)
            computation: Any = self._state.apply_transaction(transaction)
        except ValidationError as error:
            raise LedgerError(f"a transaction that cannot be executed: {error}") from error
        emitted = tuple(
            Emitted(bytes(address), Log(tuple(topic.to_bytes(32, "big") for topic in topics), data))
            for address, topics, data in computation.get_log_entries()
        )
        return Outcome(
            sender=sender,
            to=bytes(transaction.to) or contract_address(sender, transaction.nonce),
            data=bytes(transaction.data),
            succeeded=not computation.is_error,
            emitted=emitted,
        )

    def call(self, name: str, to: bytes, data: bytes) -> bytes:
        """Result of a read-only call, named for messages."""
        transaction = self._builder.create_unsigned_transaction(
            nonce=0, gas_price=0, gas=GAS_LIMIT, to=to, value=0, data=data
        )
        before = self._state.snapshot()
        self._state.set_nonce(bytes(20), 0)
        spoofed = SpoofTransaction(transaction, from_=bytes(20))
        computation = self._state.costless_execute_transaction(spoofed)
        self._state.revert(before)
        if computation.is_error:
            raise Reverted(name, revert_reason(computation.output))
        return bytes(computation.output)

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        """A transaction with the address that signed it."""
        try:
            transaction: SignedTransactionAPI = self._builder.decode(raw)
            transaction.check_signature_validity()
        except _UNREADABLE as error:
            raise LedgerError(f"a transaction that cannot be read: {error}") from error
        return transaction
