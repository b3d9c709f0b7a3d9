"""What keeps a long chain's memory flat: the store without the past, and the blocks in a file.

Executing a block needs the newest state, the contract's code and a few headers. Everything else
that py-evm keeps (states gone by, receipts, bodies) can be had by executing the blocks again.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import overload

import ledger.chains.pyevm  # noqa: F401 - before eth

# isort: split

import rlp
from eth.abc import BlockHeaderAPI
from eth.db.backends.memory import MemoryDB
from eth.db.schema import SchemaV1

from ledger.chains import export
from ledger.chains.export import BlockLine

# Headers that the EVM's BLOCKHASH can reach.
HEADERS = 256
_HASH = 32
# Lengths of an inner node and of a leaf or extension of a Merkle-Patricia trie.
_BRANCH = 17


def prune(store: MemoryDB, headers: Sequence[BlockHeaderAPI]) -> None:
    """Drop everything but the state of the last of `headers`, code, and the headers given."""
    held = store.kv_store
    keep: set[bytes] = set()
    for account in _walk(held, headers[-1].state_root, keep):
        _, _, storage_root, code_hash = rlp.decode(account)
        keep.add(code_hash)
        for _ in _walk(held, storage_root, keep):
            pass
    for header in headers:
        keep.add(header.hash)
        keep.add(SchemaV1.make_block_hash_to_score_lookup_key(header.hash))
        keep.add(SchemaV1.make_block_number_to_hash_lookup_key(header.block_number))
    lookups = (b"block-hash-to-score:", b"block-number-to-hash:", b"transaction-hash-to-block:")
    for key in list(held):
        if key not in keep and (len(key) == _HASH or key.startswith(lookups)):
            del held[key]


def _walk(held: dict[bytes, bytes], root: bytes, seen: set[bytes]) -> Iterator[bytes]:
    """Values of a trie; hashes of its nodes are added to `seen`."""
    waiting: list[bytes | list[bytes]] = [root]
    while waiting:
        reference = waiting.pop()
        if isinstance(reference, bytes):
            if reference in seen or reference not in held:
                continue
            seen.add(reference)
            node = rlp.decode(held[reference])
        else:
            node = reference
        if len(node) == _BRANCH:
            waiting += [child for child in node[:-1] if child]
            if node[-1]:
                yield node[-1]
        elif len(node) == 2:
            # The first nibble's second bit tells a leaf from an extension.
            if node[0][0] & 0x20:
                yield node[1]
            else:
                waiting.append(node[1])


class BlockFile(Sequence[BlockLine]):
    """Blocks 1, 2, ... in an unnamed temporary file, as the lines of a chain file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this object
        self._ends = [0]

    def append(self, block: BlockLine) -> None:
        """Put a block behind the others."""
        self._file.seek(self._ends[-1])
        self._file.write(export.dump(block))
        self._ends.append(self._file.tell())

    def truncate(self, height: int) -> None:
        """Forget every block after number `height`."""
        del self._ends[height + 1 :]
        self._file.truncate(self._ends[-1])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> BlockLine: ...

    @overload
    def __getitem__(self, index: slice) -> list[BlockLine]: ...

    def __getitem__(self, index: int | slice) -> BlockLine | list[BlockLine]:
        """Block `index + 1`."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        self._file.seek(self._ends[place])
        raw = self._file.read(self._ends[place + 1] - self._ends[place])
        line = export.parse(raw, f"block {place + 1}")
        assert isinstance(line, BlockLine)
        return line
