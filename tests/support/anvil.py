"""A real EVM node for the tests: Foundry's anvil, installed from npm into a cache of this tree."""

import gzip
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eth_account import Account

from ledger.chains.rpc import JsonRpc
from ledger.errors import LedgerError
from tests.support.npm import installed

VERSION = "1.7.1"
CHAIN_ID = 20_777


def binary() -> Path:
    """The node's program; the test is skipped, with the reason, where it cannot be had."""
    folder = installed(f"anvil-{VERSION}", (f"@foundry-rs/anvil@{VERSION}",))
    return next(folder.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))


class Anvil:
    """One node on a loopback port that keeps its chain in a file."""

    def __init__(self, folder: Path, chain_id: int = CHAIN_ID) -> None:
        self._binary = binary()
        self._chain_id = chain_id
        self.state = folder / "anvil.json"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [str(self._binary), "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--chain-id", str(self._chain_id), "--gas-limit", "60000000", "--silent"]
        command += ["--state", str(self.state), *options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
        )
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            assert self._process.poll() is None, "anvil ended at its start"
            try:
                JsonRpc(self.url, patience=1).one("eth_chainId")
                return
            except LedgerError:
                continue
        raise AssertionError("anvil does not answer")

    def fund(self, address: bytes, wei: int = 10**24) -> None:
        JsonRpc(self.url).one("anvil_setBalance", "0x" + address.hex(), hex(wei))

    def send(self, secret: bytes, wait: bool = True, **fields: Any) -> None:
        """Sign and send a transaction of a type that the client itself never makes; `wait` until
        it is in a block."""
        rpc, account = JsonRpc(self.url), Account.from_key(secret)
        self.fund(bytes.fromhex(account.address[2:]))
        count = int(rpc.one("eth_getTransactionCount", account.address, "latest"), 16)
        fields = {"nonce": count, "gas": 3_000_000, "value": 0, "chainId": CHAIN_ID, **fields}
        raw = account.sign_transaction(fields).raw_transaction
        sent = rpc.one("eth_sendRawTransaction", "0x" + bytes(raw).hex())
        give_up = time.monotonic() + 30
        while wait and rpc.one("eth_getTransactionReceipt", sent) is None:
            assert time.monotonic() < give_up, "anvil puts no block around a transaction"
            time.sleep(0.02)

    def snapshot(self) -> bytes:
        """The chain as it is now, as its file holds it; nobody may send anything meanwhile.

        What the node writes by itself while it makes blocks may hold the effects of one that it
        does not hold, or be half a file.
        """
        return gzip.decompress(bytes.fromhex(JsonRpc(self.url).one("anvil_dumpState")[2:]))

    def stop(self) -> None:
        """Let it write its chain to the file and end."""
        self._end(signal.SIGINT)

    def kill(self, kept: bytes | None = None) -> None:
        """End it at once; what came after the snapshot `kept`, if one is given, is lost."""
        self._end(signal.SIGKILL)
        if kept is not None:
            self.state.write_bytes(kept)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Anvil]:
    """A node that runs for as long as the block."""
    node = Anvil(folder)
    node.start(*options)
    try:
        yield node
    finally:
        node.kill()
