"""A real EVM node for the tests: Foundry's anvil, installed from npm into a cache of this tree."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ledger.errors import LedgerError
from ledger.rpc import JsonRpc

VERSION = "1.7.1"
CACHE = Path(__file__).parents[2] / ".cache" / "anvil"
CHAIN_ID = 20_777


def binary() -> Path:
    """The node's program; the test is skipped, with the reason, where it cannot be had."""
    found = list(CACHE.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))
    if not found:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is missing: no EVM node to test against")
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--prefix", str(CACHE), f"@foundry-rs/anvil@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        found = list(CACHE.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))
        if done.returncode or not found:
            pytest.skip(f"npm cannot install anvil: {done.stderr[-300:]}")
    return found[0]


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

    def stop(self) -> None:
        """Let it write its chain to the file and end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once: what it has not written is lost."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None
