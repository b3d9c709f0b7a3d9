"""An Ethereum chain inside this process (py-evm), with everything in a block fixed.

Time in the chain is a count, not a clock: block n carries `genesis.timestamp` + n * BLOCK_SECONDS,
so two identical runs have identical blocks down to the hash of the head.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ledger.chains.pyevm  # noqa: F401 - before eth

# isort: split

import rlp
from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.consensus import ConsensusApplier, NoProofConsensus
from eth.constants import BLANK_ROOT_HASH, POST_MERGE_DIFFICULTY, POST_MERGE_NONCE, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.vm.forks import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_utils import ValidationError

from ledger.chains.blocks import BLOCK_GAS, contract_address
from ledger.chains.export import BlockLine, GenesisLine, Line
from ledger.chains.store import HEADERS, BlockFile, prune
from ledger.errors import LedgerError, Reverted
from ledger.members.keys import Signer, keccak
from ledger.protocol.contract import Log, revert_reason

BLOCK_SECONDS = 12
GAS_LIMIT = BLOCK_GAS
# What later forks allow a single transaction (EIP-7825).
TRANSACTION_GAS = 16_700_000
MAX_FEE = 10**9
BALANCE = 10**24
# Blocks between two clean-ups of the store.
PRUNE_EVERY = 64
# What a receipt holds in the place of the state root since Byzantium.
_SUCCESS = b"\x01"


@dataclass(frozen=True)
class Genesis:
    """All that the first block depends on.

    Attributes:
        chain_id: EIP-155 chain id.
        timestamp: seconds, of block 0.
        funded: 20-byte addresses that can pay for transactions.
    """

    chain_id: int
    timestamp: int
    funded: tuple[bytes, ...]


@dataclass(frozen=True)
class Receipt:
    """What a transaction did.

    Attributes:
        gas_used: gas of this transaction alone.
        logs: its log entries.
        succeeded: False if it was refused.
        created: 20-byte address of the contract that it created; else empty.
    """

    gas_used: int
    logs: tuple[Log, ...]
    succeeded: bool = True
    created: bytes = b""


@dataclass(frozen=True)
class Executed:
    """A transaction met in a replay.

    Attributes:
        sender: 20-byte address that signed it.
        to: 20-byte address that it called, or of the contract that it created.
        data: the call.
        receipt: what it did.
    """

    sender: bytes
    to: bytes
    data: bytes
    receipt: Receipt


@dataclass(frozen=True)
class Snapshot:
    """A copy of the chain's store, how many blocks it holds, and their newest headers."""

    store: dict[bytes, bytes]
    height: int
    headers: tuple[BlockHeaderAPI, ...]


@dataclass(frozen=True)
class Transaction:
    """A transaction before it is signed.

    Attributes:
        call: name of the contract function, for messages.
        to: 20-byte address; empty to create a contract.
        data: the call.
    """

    call: str
    to: bytes
    data: bytes


class Chain(Protocol):
    """What the client needs of a chain, in this process or elsewhere."""

    @property
    def private(self) -> bool:
        """Whether nobody else writes to it."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""

    @property
    def height(self) -> int:
        """Number of the newest block."""

    @property
    def head_hash(self) -> bytes:
        """Hash of the newest block."""

    def code(self, address: bytes) -> bytes:
        """Code of the contract at `address`; empty if there is none."""

    def send(self, transactions: Sequence[Transaction], signer: Signer) -> list[Receipt]:
        """Sign the transactions and have them executed."""

    def reach(self, block: int) -> None:
        """Return when what is sent from now on can be in block `block`."""

    def call(self, name: str, to: bytes, data: bytes) -> bytes:
        """Result of a read-only call."""

    def lines(self, contract: bytes) -> Iterator[Line]:
        """A chain file of the contract, without its seal."""


def sign_transaction(
    transaction: Transaction,
    signer: Signer,
    nonce: int,
    chain_id: int,
    max_fee: int = MAX_FEE,
    tip: int = 0,
) -> bytes:
    """Serialized EIP-1559 transaction, the same on every EVM node.

    Args:
        max_fee, tip: most wei for a unit of gas in all, and to whoever makes the block.
    """
    fields = [
        chain_id,
        nonce,
        tip,
        max_fee,
        TRANSACTION_GAS,
        transaction.to,
        0,  # value
        transaction.data,
        [],  # access list
    ]
    signature = signer.sign(keccak(b"\x02" + rlp.encode(fields)))
    fields += [signature.parity, int.from_bytes(signature.r, "big"), signature.s]
    return b"\x02" + bytes(rlp.encode(fields))


class _Chain(MiningChain):
    """The newest rules that need no system contracts, a constant gas limit, no mining puzzle."""

    vm_configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, CancunVM),))

    def create_header_from_parent(
        self, parent_header: BlockHeaderAPI, **header_params: Any
    ) -> BlockHeaderAPI:
        header_params.setdefault("gas_limit", parent_header.gas_limit)
        header_params.setdefault("timestamp", parent_header.timestamp + BLOCK_SECONDS)
        return super().create_header_from_parent(parent_header, **header_params)


class InProcessChain:
    """One chain in memory.

    Attributes:
        genesis: what its first block depends on.
        private: nobody else writes to it.
    """

    private = True

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self._class: Any = _Chain.configure(chain_id=genesis.chain_id)
        self._store = MemoryDB()
        funds: Any = {
            address: {"balance": BALANCE, "nonce": 0, "code": b"", "storage": {}}
            for address in genesis.funded
        }
        self._chain: Any = self._class.from_genesis(
            AtomicDB(self._store),
            {
                "difficulty": POST_MERGE_DIFFICULTY,
                "nonce": POST_MERGE_NONCE,
                "mix_hash": ZERO_HASH32,
                "coinbase": bytes(20),
                "extra_data": b"",
                "gas_limit": GAS_LIMIT,
                "timestamp": genesis.timestamp,
                "receipt_root": BLANK_ROOT_HASH,
                "transaction_root": BLANK_ROOT_HASH,
            },
            funds,
        )
        self._blocks = BlockFile()
        self._headers = deque([self._chain.get_canonical_head()], HEADERS)

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        return self.genesis.chain_id

    @property
    def height(self) -> int:
        """Number of the newest block."""
        return len(self._blocks)

    @property
    def head_hash(self) -> bytes:
        """Hash of the newest block."""
        return bytes(self._headers[-1].hash)

    @property
    def timestamp(self) -> int:
        """Seconds since 1970 of the newest block, as the chain counts them."""
        return int(self._headers[-1].timestamp)

    def lines(self, contract: bytes) -> Iterator[Line]:
        """A chain file of the contract, without its seal: genesis and blocks 1 to `height`."""
        yield GenesisLine(
            self.genesis.chain_id, self.genesis.timestamp, self.genesis.funded, contract
        )
        yield from self._blocks

    def nonce(self, address: bytes) -> int:
        """Number of transactions that `address` has sent."""
        return int(self._chain.get_vm().state.get_nonce(address))

    def code(self, address: bytes) -> bytes:
        """Code of the contract at `address`; empty if there is none."""
        return bytes(self._chain.get_vm().state.get_code(address))

    def send(self, transactions: Sequence[Transaction], signer: Signer) -> list[Receipt]:
        """Sign the transactions and put them into one block, which is made only if none fails.

        Raises:
            Reverted: the contract refused one; no block was made.
        """
        nonce = self.nonce(signer.address)
        signed = [
            self._decode(sign_transaction(transaction, signer, nonce + i, self.chain_id))
            for i, transaction in enumerate(transactions)
        ]
        header = self._chain.header
        vm = self._chain.get_vm(header)
        try:
            header, receipts, computations = vm.apply_all_transactions(signed, header)
        except ValidationError as error:
            raise LedgerError(f"transaction refused by the chain: {error}") from error
        for transaction, computation in zip(transactions, computations, strict=True):
            if computation.is_error:
                raise Reverted(transaction.call, revert_reason(computation.output))
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, signed, receipts)
        self._append(vm.mine_block(block).block)
        return [
            replace(receipt, created=contract_address(signer.address, nonce + i))
            if not transactions[i].to
            else receipt
            for i, receipt in enumerate(_receipts(receipts))
        ]

    def reach(self, block: int) -> None:
        """Make empty blocks until the next one is block `block`."""
        while self.height + 1 < block:
            vm = self._chain.get_vm(self._chain.header)
            self._append(vm.mine_block(vm.get_block()).block)

    def call(self, name: str, to: bytes, data: bytes) -> bytes:
        """Result of a read-only call, named for messages, on the newest state."""
        vm = self._chain.get_vm()
        builder = vm.get_transaction_builder()
        transaction = builder.create_unsigned_transaction(
            nonce=0, gas_price=0, gas=GAS_LIMIT, to=to, value=0, data=data
        )
        spoofed = SpoofTransaction(transaction, from_=bytes(20))
        with vm.in_costless_state() as state:
            computation = state.costless_execute_transaction(spoofed)
        if computation.is_error:
            raise Reverted(name, revert_reason(computation.output))
        return bytes(computation.output)

    def bare_state(self) -> tuple[Any, Any]:
        """The newest state outside of any block, gas being free, and what decodes transactions for
        it. Nothing done to it reaches the chain."""
        vm = self._chain.get_vm()
        header = vm.get_header().copy(base_fee_per_gas=0)
        state = vm.build_state(vm.chaindb.db, header, vm.chain_context)
        return state, vm.get_transaction_builder()

    def replay(self, block_rlp: bytes) -> list[Executed]:
        """Execute a block from elsewhere and append it if every hash in its header comes out.

        Raises:
            LedgerError: the block does not follow from the chain so far.
        """
        try:
            block = rlp.decode(block_rlp, self._chain.get_vm().get_block_class())
            result = self._chain.import_block(block)
        except (ValidationError, rlp.exceptions.RLPException) as error:
            raise LedgerError(str(error)) from error
        receipts = _receipts(result.imported_block.get_receipts(self._chain.chaindb))
        self._keep(block)
        return [
            Executed(
                sender=bytes(transaction.sender),
                to=bytes(transaction.to)
                or contract_address(bytes(transaction.sender), transaction.nonce),
                data=bytes(transaction.data),
                receipt=receipt,
            )
            for transaction, receipt in zip(block.transactions, receipts, strict=True)
        ]

    def snapshot(self) -> Snapshot:
        """The state to which `restore` returns."""
        return Snapshot(dict(self._store.kv_store), len(self._blocks), tuple(self._headers))

    def restore(self, snapshot: Snapshot) -> None:
        """Forget every block since the snapshot."""
        self._store = MemoryDB(dict(snapshot.store))
        self._chain = self._class(AtomicDB(self._store))
        self._blocks.truncate(snapshot.height)
        self._headers = deque(snapshot.headers, HEADERS)

    def _append(self, block: BlockAPI) -> None:
        self._chain.persist_block(block)
        self._chain.header = self._chain.create_header_from_parent(block.header)
        self._keep(block)

    def _keep(self, block: BlockAPI) -> None:
        self._headers.append(block.header)
        if len(self._blocks) % PRUNE_EVERY == 0:
            prune(self._store, list(self._headers))
        self._blocks.append(
            BlockLine(int(block.number), bytes(block.hash), bytes(rlp.encode(block)))
        )

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        return self._chain.get_vm().get_transaction_builder().decode(raw)


def _receipts(receipts: Sequence[ReceiptAPI]) -> list[Receipt]:
    """Gas of each transaction (receipts hold the running sum) and its logs."""
    result, before = [], 0
    for receipt in receipts:
        logs = tuple(
            Log(tuple(topic.to_bytes(32, "big") for topic in log.topics), bytes(log.data))
            for log in receipt.logs
        )
        gas_used = int(receipt.gas_used) - before
        result.append(Receipt(gas_used, logs, receipt.state_root == _SUCCESS))
        before = int(receipt.gas_used)
    return result
