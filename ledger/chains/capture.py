"""A contract's part of a node's chain, read from the node as the lines of a chain file.

Of every block since the contract was made its header is taken, so that each follows from the one
before; of every block that the contract is named in, or whose bloom filter says that it may hold an
event of the contract, also all transactions and receipts. Nothing is taken on trust that can be
hashed: what the node states must have the hashes that it states.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ledger.chains import blocks
from ledger.chains.blocks import Answer
from ledger.chains.export import HeaderLine, Line, NodeLine, VisitedLine
from ledger.chains.rpc import JsonRpc, NodeError, Request
from ledger.errors import ContractMissing, LedgerError
from ledger.members.keys import keccak
from ledger.protocol import contract

# Blocks and receipts asked for in one exchange.
BLOCKS_AT_ONCE = 32
RECEIPTS_AT_ONCE = 100


def node_lines(rpc: JsonRpc, chain_id: int, address: bytes) -> Iterator[Line]:
    """Start and blocks of a chain file, to the block that is the newest now.

    Raises:
        ContractMissing: no event of the contract is on the chain.
        LedgerError: the node refuses a request; its blocks changed meanwhile; or a block does not
            have the hash that the node states for it.
    """
    last = int(rpc.one("eth_blockNumber"), 16)
    first = _first_block(rpc, address, last)
    yield NodeLine(chain_id, address)
    parent = None
    for start in range(first, last + 1, BLOCKS_AT_ONCE):
        numbers = range(start, min(start + BLOCKS_AT_ONCE, last + 1))
        for number, block in zip(numbers, _blocks(rpc, numbers), strict=True):
            line = _line(rpc, block, address)
            if line.number != number or parent not in (None, _parent(line)):
                raise LedgerError(
                    f"the blocks of {rpc.place} changed while they were read: export again"
                )
            parent = line.hash
            yield line


def _first_block(rpc: JsonRpc, address: bytes, last: int) -> int:
    """The block that created the contract: its constructor registers the administrators."""
    (topic,) = (key for key, event in contract.events().items() if event.name == "Registered")
    logs = rpc.one(
        "eth_getLogs",
        {
            "address": "0x" + address.hex(),
            "topics": ["0x" + topic.hex()],
            "fromBlock": "0x0",
            "toBlock": hex(last),
        },
    )
    if not logs:
        raise ContractMissing(
            f"{rpc.place} knows no event of a contract at 0x{address.hex()} up to block {last}"
        )
    return min(int(log["blockNumber"], 16) for log in logs)


def _blocks(rpc: JsonRpc, numbers: Sequence[int]) -> list[Answer]:
    return _all(rpc, [("eth_getBlockByNumber", [hex(number), True]) for number in numbers])


def _receipts(rpc: JsonRpc, hashes: Sequence[str]) -> list[Answer]:
    found: list[Answer] = []
    for start in range(0, len(hashes), RECEIPTS_AT_ONCE):
        some = hashes[start : start + RECEIPTS_AT_ONCE]
        found += _all(rpc, [("eth_getTransactionReceipt", [one]) for one in some])
    return found


def _all(rpc: JsonRpc, requests: Sequence[Request]) -> list[Answer]:
    """Answers to all requests, or an error that names the one without."""
    answers: list[Any] = rpc.batch(requests)
    for (method, params), answer in zip(requests, answers, strict=True):
        if isinstance(answer, NodeError) or answer is None:
            why = "nothing" if answer is None else answer.message
            raise LedgerError(f"{rpc.place} answered {method} {params[0]} with: {why}")
    return answers


def _line(rpc: JsonRpc, block: Answer, address: bytes) -> HeaderLine | VisitedLine:
    """One block; every hash that the node states is computed again."""
    raw, stated = blocks.header_bytes(block), bytes.fromhex(block["hash"][2:])
    header = blocks.read_header(raw)
    place = f"block {header.number} of {rpc.place}"
    if keccak(raw) != stated:
        raise LedgerError(
            f"{place} does not have the hash 0x{stated.hex()} that the node states: it has fields "
            "that this program does not know, or its chain leaves some out of the hash"
        )
    named = any(_names(one, address) for one in block["transactions"])
    if not named and not blocks.may_hold(header.bloom, address):
        return HeaderLine(header.number, stated, raw)
    transactions = tuple(blocks.transaction_bytes(one) for one in block["transactions"])
    answers = _receipts(rpc, [one["hash"] for one in block["transactions"]])
    receipts = tuple(blocks.receipt_bytes(answer) for answer in answers)
    if blocks.trie_root(transactions) != header.transactions_root:
        raise LedgerError(f"{place}: its transactions are not those of its header")
    if blocks.trie_root(receipts) != header.receipts_root:
        raise LedgerError(f"{place}: its receipts are not those of its header")
    return VisitedLine(header.number, stated, raw, transactions, receipts)


def _names(transaction: Answer, address: bytes) -> bool:
    """Whether a transaction calls the contract or creates it."""
    to = transaction.get("to")
    if to is not None:
        return bytes.fromhex(to[2:]) == address
    sender, nonce = bytes.fromhex(transaction["from"][2:]), int(transaction["nonce"], 16)
    return blocks.contract_address(sender, nonce) == address


def _parent(line: HeaderLine | VisitedLine) -> bytes:
    return blocks.read_header(line.header).parent
