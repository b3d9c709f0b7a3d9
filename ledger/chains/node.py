"""Any EVM node by URL, in the place of the chain in this process.

Nothing is recorded twice: a transaction is signed once, kept, and sent again under the same number
until its receipt is there. When a node comes back without its newest blocks, the kept transactions
are sent again in their order; the chain takes each number once. A call that ended in
`NodeUnavailable` is simply made again: it takes up its own transactions where they stand.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ledger.chains.capture import node_lines
from ledger.chains.export import Line
from ledger.chains.in_process import (
    BALANCE,
    MAX_FEE,
    TRANSACTION_GAS,
    Receipt,
    Transaction,
    sign_transaction,
)
from ledger.chains.journal import Journal, Sent
from ledger.chains.rpc import JsonRpc, NodeError
from ledger.errors import (
    ContractMissing,
    LedgerError,
    NodeUnavailable,
    NoFunds,
    Reverted,
    WrongChain,
)
from ledger.members.keys import Signer
from ledger.protocol.contract import Log, revert_reason

POLL_SECONDS = 0.02
ATTEMPTS = 3


class _NumberTaken(Exception):
    """Another transaction of the same key took the number."""


class NodeChain:
    """A node's chain, with the methods of `InProcessChain` that the client uses.

    Attributes:
        chain_id: EIP-155 chain id, which the node must have.
        rpc: the node.
        private: others may write to the chain, so nothing read from it is kept.
    """

    private = False

    def __init__(self, url: str, chain_id: int, patience: float = 60.0) -> None:
        self.chain_id = chain_id
        self.rpc = JsonRpc(url, patience)
        self._journals: dict[bytes, Journal] = {}
        # Addresses seen to hold a contract since the node was last away.
        self._seen: set[bytes] = set()
        self._outages = 0
        self._check_chain(_number(self.rpc.one("eth_chainId")))

    @property
    def height(self) -> int:
        """Number of the newest block."""
        return _number(self.rpc.one("eth_blockNumber"))

    @property
    def head_hash(self) -> bytes:
        """Hash of the newest block."""
        return _bytes(self.rpc.one("eth_getBlockByNumber", "latest", False)["hash"])

    def nonce(self, address: bytes, pending: bool = False) -> int:
        """Number of transactions that `address` has sent; `pending` counts those too that the node
        holds for its next blocks."""
        block = "pending" if pending else "latest"
        return _number(self.rpc.one("eth_getTransactionCount", _hex(address), block))

    def code(self, address: bytes) -> bytes:
        """Code of the contract at `address`; empty if there is none."""
        return _bytes(self.rpc.one("eth_getCode", _hex(address), "latest"))

    def call(self, name: str, to: bytes, data: bytes) -> bytes:
        """Result of a read-only call, named for messages, on the newest state."""
        self._require_code(to)
        return self._view(name, {"to": _hex(to), "data": _hex(data)}, "latest")

    def reach(self, block: int) -> None:
        """Wait until a call tried on the newest block is tried on block `block` or a later one.

        A development node that makes blocks for transactions alone is asked to make these too.

        Raises:
            NodeUnavailable: the blocks did not come in time.
        """
        give_up = time.monotonic() + self.rpc.patience
        while (height := self.height) < block:
            # anvil and Hardhat know it; another node refuses, and its blocks come by themselves.
            answers = self.rpc.batch([("evm_mine", [])])
            if not isinstance(answers[0], NodeError):
                continue
            if time.monotonic() > give_up:
                raise NodeUnavailable(
                    f"{self.rpc.place} is at block {height} and did not come to block {block} "
                    f"within {self.rpc.patience:g} s"
                )
            time.sleep(POLL_SECONDS)

    def lines(self, contract: bytes) -> Iterator[Line]:
        """A chain file of the contract, without its seal; see `ledger.chains.capture`."""
        return node_lines(self.rpc, self.chain_id, contract)

    def send(self, transactions: Sequence[Transaction], signer: Signer) -> list[Receipt]:
        """Sign the transactions, send them in one batch, and wait for their receipts.

        The first is tried before it is sent, so its refusal costs nothing and records nothing.

        Raises:
            Reverted: the contract refused one; those before it stay recorded.
            NoFunds: the signer cannot pay.
            WrongChain, ContractMissing: the node is not the one it was.
            NodeUnavailable: the node went away; call again with the same transactions.
        """
        journal = self._journals.setdefault(signer.address, Journal())
        for attempt in range(ATTEMPTS):
            try:
                self._catch_up(journal, signer)
                for to in {transaction.to for transaction in transactions if transaction.to}:
                    self._require_code(to)
                mine = self._signed(transactions, journal, signer)
                self._deliver(mine, journal, signer)
                break
            except _NumberTaken:
                if attempt == ATTEMPTS - 1:
                    raise LedgerError(
                        f"another program sends transactions with the key 0x{signer.address.hex()}"
                    ) from None
        receipts = self._await(mine, journal, signer)
        journal.answered(mine)
        return [self._receipt(sent, receipt) for sent, receipt in zip(mine, receipts, strict=True)]

    def require_funds(self, address: bytes) -> None:
        """Refuse an account that cannot pay for one transaction.

        Raises:
            NoFunds: with the address, what it holds and what it needs.
        """
        balance = self._balance(address)
        needed = TRANSACTION_GAS * self._fees()[0]
        if balance < needed:
            raise NoFunds(
                f"the key 0x{address.hex()} holds {balance} wei on chain {self.chain_id} "
                f"({self.rpc.place}); a transaction needs {needed} wei at hand"
            )

    def fund_on_development_node(self, address: bytes, wei: int = BALANCE) -> None:
        """Give an account funds where the node does that when asked to (anvil, hardhat); on
        another node nothing happens."""
        if self._balance(address) < wei:
            self.rpc.batch([("hardhat_setBalance", [_hex(address), hex(wei)])])

    def _balance(self, address: bytes) -> int:
        return _number(self.rpc.one("eth_getBalance", _hex(address), "latest"))

    def _fees(self) -> tuple[int, int]:
        """Wei for a unit of gas that the next blocks accept, and what of it is the tip.

        The tip is the one that the node proposes: many take no transaction without.
        """
        block, proposed = self.rpc.batch(
            [("eth_getBlockByNumber", ["latest", False]), ("eth_maxPriorityFeePerGas", [])]
        )
        if isinstance(block, NodeError):
            raise LedgerError(f"{self.rpc.place} refused eth_getBlockByNumber: {block.message}")
        tip = 0 if isinstance(proposed, NodeError) else _number(proposed)
        return max(2 * _number(block.get("baseFeePerGas", "0x0")) + tip, MAX_FEE), tip

    # ---- sending ----

    def _signed(
        self, transactions: Sequence[Transaction], journal: Journal, signer: Signer
    ) -> list[Sent]:
        """The transactions under their numbers; those of an interrupted call keep theirs."""
        mine: list[Sent] = []
        fresh = False
        # A program that was killed may have left transactions that no block holds yet: behind them.
        number = max(self.nonce(signer.address, pending=True), journal.following)
        for transaction in transactions:
            known = journal.open.get((transaction.to, transaction.data))
            if known is None:
                if not fresh:
                    fee, tip = self._try(transaction, signer)
                    fresh = True
                raw = sign_transaction(transaction, signer, number, self.chain_id, fee, tip)
                known = Sent(transaction, number, raw)
                journal.keep(known)
                number += 1
            mine.append(known)
        return mine

    def _try(self, transaction: Transaction, signer: Signer) -> tuple[int, int]:
        """Execute a transaction without sending it; returns fees that the next blocks accept."""
        fields = {"from": _hex(signer.address), "data": _hex(transaction.data)}
        if transaction.to:
            fields["to"] = _hex(transaction.to)
        self._view(transaction.call, fields, "latest")
        return self._fees()

    def _deliver(self, sent: Sequence[Sent], journal: Journal, signer: Signer) -> None:
        """Send raw transactions in one batch; a node that has one already is content."""
        answers = self._send_raw(sent)
        for i, (one, answer) in enumerate(zip(sent, answers, strict=True)):
            # A node may take a batch in any order, and some queue nothing that comes early.
            if isinstance(answer, NodeError) and "nonce too high" in answer.message.lower():
                (answers[i],) = self._send_raw([one])
        for i, (one, answer) in enumerate(zip(sent, answers, strict=True)):
            if not isinstance(answer, NodeError) or self._receipts([one])[0] is not None:
                continue
            words = answer.message.lower()
            if "already" in words:
                continue
            journal.forget(sent[i:])
            # Another one under the number is in a block, or waits for one below it, as ours do.
            if "nonce too low" in words or "replacement" in words:
                raise _NumberTaken
            if "insufficient funds" in words:
                held = self._balance(signer.address)
                raise NoFunds(
                    f"the key 0x{signer.address.hex()} holds {held} wei on chain {self.chain_id} "
                    f"({self.rpc.place}) and cannot pay for {one.transaction.call}"
                )
            raise LedgerError(f"{self.rpc.place} refused {one.transaction.call}: {answer.message}")

    def _send_raw(self, sent: Sequence[Sent]) -> list[Any]:
        return self.rpc.batch([("eth_sendRawTransaction", [_hex(one.raw)]) for one in sent])

    def _await(
        self, sent: Sequence[Sent], journal: Journal, signer: Signer
    ) -> list[dict[str, Any]]:
        """Receipts of all, once they are in blocks."""
        give_up = time.monotonic() + self.rpc.patience
        while True:
            receipts = self._receipts(sent)
            found = [receipt for receipt in receipts if receipt is not None]
            if len(found) == len(sent):
                return found
            if time.monotonic() > give_up:
                raise NodeUnavailable(
                    f"{self.rpc.place} put no block around {sent[-1].transaction.call} within "
                    f"{self.rpc.patience:g} s; call again, nothing is recorded twice"
                )
            if self._was_away():
                self._catch_up(journal, signer)
            time.sleep(POLL_SECONDS)

    def _catch_up(self, journal: Journal, signer: Signer) -> None:
        """Send again what the node has not got, or lost, of this key's transactions."""
        chain_id, answer = self.rpc.batch(
            [
                ("eth_chainId", []),
                ("eth_getTransactionCount", [_hex(signer.address), "latest"]),
            ]
        )
        self._check_chain(_number(chain_id))
        count = _number(answer)
        if count >= journal.following:
            return
        own = range(max(count, journal.first or 0), journal.following)
        missing = [journal.kept.get(number) for number in own]
        known = [one for one in missing if one is not None]
        if len(known) < len(missing):
            raise LedgerError(
                f"{self.rpc.place} came back without {len(missing)} transactions of the key "
                f"0x{signer.address.hex()}, of which this client keeps only {len(known)}"
            )
        self._deliver(known, journal, signer)
        self._await(known, journal, signer)

    def _receipts(self, sent: Sequence[Sent]) -> list[dict[str, Any] | None]:
        answers = self.rpc.batch([("eth_getTransactionReceipt", [one.hash]) for one in sent])
        return [None if isinstance(answer, NodeError) else answer for answer in answers]

    def _receipt(self, sent: Sent, receipt: dict[str, Any]) -> Receipt:
        """The receipt as the client knows it; a transaction that failed raises."""
        if _number(receipt["status"]) != 1:
            fields = {"to": receipt["to"], "data": _hex(sent.transaction.data)}
            fields["from"] = receipt["from"]
            before = hex(_number(receipt["blockNumber"]) - 1)
            self._view(sent.transaction.call, fields, before)
            raise Reverted(sent.transaction.call, "no reason to be had from the node")
        logs = tuple(
            Log(tuple(_bytes(topic) for topic in log["topics"]), _bytes(log["data"]))
            for log in receipt["logs"]
        )
        created = _bytes(receipt.get("contractAddress") or "0x")
        return Receipt(_number(receipt["gasUsed"]), logs, created=created)

    # ---- checks ----

    def _view(self, name: str, fields: dict[str, str], block: str) -> bytes:
        (answer,) = self.rpc.batch([("eth_call", [fields, block])])
        if not isinstance(answer, NodeError):
            return _bytes(answer)
        if answer.data or "revert" in answer.message.lower():
            raise Reverted(name, revert_reason(answer.data))
        raise LedgerError(f"{self.rpc.place} refused {name}: {answer.message}")

    def _check_chain(self, found: int) -> None:
        if found != self.chain_id:
            raise WrongChain(
                f"{self.rpc.place} serves chain {found}, not chain {self.chain_id}; signatures for "
                "one chain are void on the other"
            )

    def _require_code(self, address: bytes) -> None:
        """There must be a contract, or the node would take calls to nobody for success."""
        self._was_away()
        if address in self._seen:
            return
        if not self.code(address):
            raise ContractMissing(
                f"no contract at 0x{address.hex()} on chain {self.chain_id} ({self.rpc.place})"
            )
        self._seen.add(address)

    def _was_away(self) -> bool:
        """Whether the node was found away since the last time this was asked."""
        before, self._outages = self._outages, self.rpc.outages
        if before == self._outages:
            return False
        self._seen.clear()
        return True


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _number(value: Any) -> int:
    """A quantity of JSON-RPC."""
    if not isinstance(value, str):
        raise LedgerError(f"a node must answer with a number in hex; got {value!r}")
    return int(value, 16)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise LedgerError(f"a node must answer with bytes in hex; got {value!r}")
    return bytes.fromhex(value[2:])
