"""Starts the nodes and the dealer, speaks for the hospitals, and collects what was opened."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.aggregation.rules import build_rule
from secure_fl.errors import ConfigError, InputError, NodeFailure, SecureFLError, require
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.sharing import commit, split
from secure_fl.mpc.tls import Tls, check_keys, make_keys
from secure_fl.mpc.transport import Channel, accept, listen
from secure_fl.sessions import (
    PREPROCESSING,
    SALT_BYTES,
    Backend,
    HospitalSecrets,
    Session,
    Submission,
)
from secure_fl.types import AggregateResult, Cost, Opening

_GRACE_SECONDS = 5.0
# Exit status of a process that lost a peer.
_GAVE_UP = 3
_ERRORS = {"InputError": InputError, "ConfigError": ConfigError}


# Circuits allocate and free the same megabytes hundreds of times a second: let glibc keep them
# instead of giving them back to the system each time (a fifth of the time of a median).
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def check_preprocessing(preprocessing: str, insecure: bool) -> None:
    """Refuse preprocessing that somebody could decrypt with, unless that is asked for.

    Raises:
        ConfigError: an unknown kind, or "first_party" without `insecure`.
    """
    if preprocessing not in PREPROCESSING:
        allowed = ", ".join(PREPROCESSING)
        raise ConfigError(f"preprocessing must be one of {allowed}; got {preprocessing!r}")
    if preprocessing == "first_party" and not insecure:
        raise ConfigError(
            "preprocessing: first_party lets node 0 decrypt every update; it runs only with "
            "insecure_preprocessing: true"
        )


@dataclass
class _Process:
    name: str
    handle: subprocess.Popen[bytes]
    control: Channel | None = None


def _start(name: str, module: str, options: dict[str, Any]) -> _Process:
    """Start one process in a session of its own, so that Ctrl-C reaches only us."""
    handle = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **_ALLOCATOR},
    )
    process = _Process(name, handle)
    if handle.stdin is None:
        raise NodeFailure(f"{name} was started without standard input")
    with contextlib.suppress(BrokenPipeError):  # reported when it does not connect
        handle.stdin.write((json.dumps(options) + "\n").encode())
        handle.stdin.close()
    return process


def _stop(processes: list[_Process]) -> None:
    """Ask all to stop, wait, and kill what is left."""
    for process in processes:
        if process.control is not None:
            with contextlib.suppress(NodeFailure):
                process.control.send({"do": "stop"})
            process.control.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        if process.control is None:
            process.handle.kill()
        try:
            process.handle.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.handle.kill()
            process.handle.wait()
    processes.clear()


class MpcBackend(Backend):
    """Computing nodes and a dealer as local processes, started once and used for many sessions.

    Args:
        nodes: computing nodes, 2 to 4.
        timeout: seconds after which a silent peer counts as dead.
        transcript: a folder in which each node records all it receives, for inspection.
        network: what joins the nodes, by which circuits are chosen; default: one machine.
        route: maps a node's port to one that leads there, such as a slow link's.
        keys: folder of `secure_fl.mpc.tls.make_keys` (`secure-fl keys`) for the TLS connections
            between all processes; by default fresh ones, for these processes alone.
        preprocessing: "dealer", a process of its own; or "first_party", CrypTen's TFP, where node
            0 makes all correlated randomness and could decrypt everything.
        insecure_preprocessing: must be true for "first_party".

    Raises:
        InputError: a number out of range, or a party's keys are missing.
        ConfigError: "first_party" without `insecure_preprocessing`.
        SecureFLError: CrypTen is missing.
        NodeFailure: a process did not start.
    """

    def __init__(
        self,
        nodes: int = 2,
        timeout: float = 120.0,
        transcript: Path | str | None = None,
        network: Network | None = None,
        route: Callable[[int], int] = lambda port: port,
        keys: Path | str | None = None,
        preprocessing: str = "dealer",
        insecure_preprocessing: bool = False,
    ) -> None:
        check_preprocessing(preprocessing, insecure_preprocessing)
        require(2 <= nodes <= 4, "nodes", "2, 3 or 4", nodes)
        require(timeout > 0, "timeout", "positive", timeout)
        import_crypten()
        self.nodes = nodes
        self._sessions = 0
        self._ready = False
        self._processes: list[_Process] = []
        self._finalizer = weakref.finalize(self, _stop, self._processes)
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_unless_ready)
            if keys is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-fl-"))
                keys = Path(folder) / "keys"
                make_keys(keys, nodes, days=1)
            check_keys(Path(keys), nodes)
            common = {
                "timeout": timeout,
                "transcript": None if transcript is None else str(transcript),
                "network": asdict(network or Network()),
                "keys": str(Path(keys).resolve()),
                "preprocessing": preprocessing,
            }
            self._launch(common, route)
            self._ready = True

    def _close_unless_ready(self) -> None:
        """Leave no process behind when the start fails."""
        if not self._ready:
            self.close()

    def _launch(self, settings: dict[str, Any], route: Callable[[int], int]) -> None:
        token, timeout = secrets.token_bytes(32), settings["timeout"]
        tls = Tls(Path(settings["keys"]), "coordinator")
        with listen() as server:
            common = {
                **settings,
                "token": token.hex(),
                "port": server.getsockname()[1],
                "nodes": self.nodes,
                "path": [p or str(Path.cwd()) for p in sys.path],
            }
            self._processes.append(_start("dealer", "secure_fl.mpc.dealer", common))
            for rank in range(self.nodes):
                options = {**common, "rank": rank}
                self._processes.append(_start(f"node {rank}", "secure_fl.mpc.node", options))
            self._collect(server, token, timeout, tls)
        ports = {p.name: self._receive(p)["port"] for p in self._processes}
        plan = {
            "ports": [route(ports[f"node {rank}"]) for rank in range(self.nodes)],
            "dealer_port": ports["dealer"],
        }
        for process in self.node_processes:
            self._channel(process).send(plan)
        for process in self.node_processes:
            self._receive(process)

    def _collect(self, server: Any, token: bytes, timeout: float, tls: Tls) -> None:
        """Accept the control channels, watching for processes that die before they connect."""
        deadline = time.monotonic() + timeout
        waiting = {p.name: p for p in self._processes}
        while waiting:
            try:
                channel = accept(server, token, 1.0, tls)
            except NodeFailure as silence:
                dead = [p for p in waiting.values() if p.handle.poll() is not None]
                if dead:
                    ended = NodeFailure("it ended before it connected")
                    raise self._failure(dead[0], ended) from silence
                if time.monotonic() > deadline:
                    raise self._failure(None, silence) from silence
                continue
            channel.socket.settimeout(timeout)
            waiting.pop(channel.peer).control = channel

    @property
    def node_processes(self) -> list[_Process]:
        """The nodes, in order of rank."""
        return self._processes[1:]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name ("dealer", "node 0", ...)."""
        return {p.name: p.handle.pid for p in self._processes}

    @staticmethod
    def _channel(process: _Process) -> Channel:
        if process.control is None:
            raise NodeFailure(f"{process.name} is not connected")
        return process.control

    def _failure(self, process: _Process | None, cause: Exception) -> NodeFailure:
        """Say which process ended, if one was killed or crashed: complaints are consequences."""
        time.sleep(0.2)
        for other in self._processes:
            status = other.handle.poll()
            if status not in (None, 0, _GAVE_UP):
                how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                return NodeFailure(f"{other.name} stopped unexpectedly ({how})")
        name = "a process" if process is None else process.name
        return NodeFailure(f"{name} failed: {cause}")

    def _receive_raw(self, process: _Process) -> tuple[dict[str, Any], bytearray]:
        if not self._processes:
            raise NodeFailure("the nodes are stopped")
        try:
            header, payload = self._channel(process).receive()
            if header.get("error") == "NodeFailure":
                raise NodeFailure(header["message"])
        except NodeFailure as failure:
            error = self._failure(process, failure)
            self.close()
            raise error from failure
        return header, payload

    def _receive(self, process: _Process) -> dict[str, Any]:
        return self._receive_raw(process)[0]

    @property
    def running(self) -> bool:
        """Whether the processes are up."""
        return bool(self._processes)

    def ask(
        self, message: dict[str, Any], payload: bytes = b""
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers, in order of rank.

        Raises:
            NodeFailure: a node or the dealer is gone; all are stopped then.
            SecureFLError: the rule refused its input.
        """
        for rank in range(self.nodes):
            self.tell(rank, message, payload)
        answers = self._answers()
        for header, _ in answers:
            if "error" in header:
                raise _ERRORS.get(header["error"], SecureFLError)(header["message"])
        return answers

    def _answers(self) -> list[tuple[dict[str, Any], bytearray]]:
        """Wait for every node's answer, however long: peers that fall silent report each other.

        A node that ends closes its connection, which is an answer too: the first bad one counts.
        """
        answers: dict[str, tuple[dict[str, Any], bytearray]] = {}
        waiting = {self._channel(p).socket: p for p in self.node_processes}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [])
            for sock in ready:
                process = waiting.pop(sock)
                answers[process.name] = self._receive_raw(process)
        return [answers[process.name] for process in self.node_processes]

    def tell(self, rank: int, message: dict[str, Any], *payload: bytes) -> None:
        """Send one message to one node."""
        if not self._processes:
            raise NodeFailure("the nodes are stopped")
        process = self.node_processes[rank]
        try:
            self._channel(process).send(message, *payload)
        except NodeFailure as failure:
            error = self._failure(process, failure)
            self.close()
            raise error from failure

    def session(
        self, rule: Any, hospitals: int, dim: int, simulation_key: bytes | None = None
    ) -> Session:
        """Open a session on the nodes."""
        self._sessions += 1
        return MpcSession(
            self, self._sessions, build_rule(rule), hospitals, dim, HospitalSecrets(simulation_key)
        )

    def close(self) -> None:
        """Stop all processes."""
        _stop(self._processes)


class MpcSession(Session):
    """A session on the nodes; here live the hospitals, who split and send."""

    def __init__(
        self,
        backend: MpcBackend,
        number: int,
        rule: Pipeline,
        hospitals: int,
        dim: int,
        hospital_secrets: HospitalSecrets,
    ) -> None:
        super().__init__(rule, hospitals, dim, hospital_secrets)
        self._backend = backend
        self._number = number
        size = {"hospitals": hospitals, "dim": dim}
        backend.ask({"do": "open", "session": number, "rule": rule.to_config(), **size})

    def _share(self, rows: dict[int, torch.Tensor]) -> tuple[dict[int, bytes], Any]:
        """Each hospital splits its update, commits, and sends every node its share."""
        roots: dict[int, bytes] = {}
        nodes = self._backend.nodes
        for hospital, row in rows.items():
            label = f"{self._round} {hospital}"
            stream = Stream(self._secrets.draw(f"share {label}", KEY_BYTES))
            shares = split(row, self.rule.bits, nodes, stream)
            salts = [self._secrets.draw(f"salt {label} {i}", SALT_BYTES) for i in range(nodes)]
            roots[hospital], messages = commit(shares, salts)
            for rank, message in enumerate(messages):
                header = {
                    "do": "share",
                    "session": self._number,
                    "hospital": hospital,
                    "proof": [part.hex() for part in message.proof],
                }
                self._backend.tell(rank, header, message.salt, message.share)
        return roots, None

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: dict[int, bytes],
    ) -> AggregateResult:
        message = {
            "do": "aggregate",
            "session": self._number,
            "roots": {h: root.hex() for h, root in sorted(commitments.items())},
            "reputation": reputation.tolist(),
        }
        payload = b"" if reference is None else reference.numpy().astype("<f8").tobytes()
        answers = self._backend.ask(message, payload)
        header, data = answers[0]
        for rank, (other, theirs) in enumerate(answers[1:], start=1):
            if theirs != data or other["accepted"] != header["accepted"]:
                raise NodeFailure(f"node {rank} opened other values than node 0")
        submission.refused.update(
            {int(h): why for other, _ in answers[::-1] for h, why in other["refused"].items()}
        )
        values = _unpack(header["values"], data)
        return AggregateResult(
            update=values.pop("update"),
            accepted=torch.tensor(header["accepted"], dtype=torch.bool),
            opened=[Opening(name, tuple(shape)) for name, shape in header["opened"]],
            values=values,
            cost=_cost([other for other, _ in answers]),
        )

    def close(self) -> None:
        """Let the nodes forget the session's state; nodes that are gone already have."""
        if self._backend.running:
            self._backend.ask({"do": "close", "session": self._number})


def _unpack(layout: list[Any], data: bytearray) -> dict[str, torch.Tensor]:
    values, offset = {}, 0
    for name, dtype, shape in layout:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, offset).reshape(shape)
        values[name] = torch.from_numpy(array.copy())
        offset += array.nbytes
    return values


def _cost(reports: list[dict[str, Any]]) -> Cost:
    # Node 0 alone waits for the dealer; the others' wait for node 0 would look like online time.
    first = reports[0]
    return Cost(
        seconds_online=first["seconds"] - first["seconds_offline"],
        seconds_offline=first["seconds_offline"],
        rounds=first["rounds"],
        bytes_online=max(report["bytes_online"] for report in reports),
        bytes_offline=max(report["bytes_offline"] for report in reports),
        peak_mib=max(report["peak_mib"] for report in reports),
    )
