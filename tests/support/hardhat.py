"""Another EVM node for the tests: Hardhat's, installed from npm into a cache of this tree."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.chains.rpc import JsonRpc
from ledger.errors import LedgerError
from tests.support.npm import installed

VERSION = "2.26.3"
CHAIN_ID = 20_779


def _configure(folder: Path) -> None:
    network = {"hardhat": {"chainId": CHAIN_ID, "blockGasLimit": 60_000_000}}
    settings = {"solidity": "0.8.28", "networks": network}  # it compiles nothing
    (folder / "hardhat.config.js").write_text(f"module.exports = {json.dumps(settings)};\n")


@contextmanager
def serving() -> Iterator[str]:
    """Address of a node on a loopback port, for as long as the block."""
    folder = installed(f"hardhat-{VERSION}", (f"hardhat@{VERSION}",), _configure)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = folder / "node_modules/hardhat/internal/cli/bootstrap.js"
    command = [str(shutil.which("node")), str(program), "node"]
    quiet = {"CI": "1", "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true"}
    process = subprocess.Popen(
        [*command, "--hostname", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env=os.environ | quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        assert process.poll() is None, "hardhat ended at its start"
        try:
            JsonRpc(url, patience=1).one("eth_chainId")
            return
        except LedgerError:
            continue
    raise AssertionError("hardhat does not answer")
