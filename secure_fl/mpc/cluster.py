"""Starts the nodes and the dealer, and carries commands to the nodes and their answers back."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ledger.keys import Signer
from secure_fl.aggregation.rules import build_rule
from secure_fl.errors import ConfigError, InputError, NodeFailure, SecureFLError, require
from secure_fl.extensions import load_extensions
from secure_fl.faults import Fault
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.handshakes import Reception, listen
from secure_fl.mpc.planning import Network
from secure_fl.mpc.processes import Process, kill, start, stop
from secure_fl.mpc.session import MpcSession
from secure_fl.mpc.tls import Tls, check_keys, make_keys
from secure_fl.mpc.transport import Channel
from secure_fl.sessions import PREPROCESSING, Backend, HospitalSecrets
from secure_fl.statements import Ties

# Exit status of a process that lost a peer.
_GAVE_UP = 3
_ERRORS = {"InputError": InputError, "ConfigError": ConfigError, "NotPermitted": ConfigError}


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


def refuse_main(names: Sequence[str]) -> None:
    """Refuse stages of the program that runs: nodes are other programs.

    Raises:
        ConfigError: naming the stage, and what to do.
    """
    for name in names:
        module, _, function = name.partition(":")
        if module == "__main__":
            raise ConfigError(
                f"the stage {function} is defined in the program or notebook that runs, which "
                f"computing nodes, being processes of their own, cannot import: move {function} "
                "into a file, say my_rule.py, and import it from there"
            )


def _folders() -> list[str]:
    """Where this process finds modules, the current directory last."""
    return [*(str(Path(place).resolve()) for place in sys.path), str(Path.cwd())]


class MpcBackend(Backend):
    """Computing nodes and a dealer as local processes, started once and used for many sessions.

    Several threads may use it, each with sessions of its own: one question is asked and answered
    at a time. A question that is cut off between its first byte and its last answer, by Ctrl-C
    say, stops the processes, for the next answer read could be its own.

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
        minimum_hospitals: fewest that each node combines by itself, whatever it is asked. Below 3
            the opened update tells a hospital, or the coordinator, another's.
        signers: the nodes' ledger keys in order of rank, each a key or the path of its keystore
            file, which that node opens; the key or the file's password (from the environment, see
            `ledger.keystore`) is handed over on its standard input. Without them nodes sign
            nothing.
        allow: stages of your own, "module:function" each, that nodes may import; they do so when
            they start, and refuse a rule with any other. The current directory is looked in.

    Raises:
        InputError: a number out of range, or a party's keys are missing.
        ConfigError: "first_party" without `insecure_preprocessing`, or a name in `allow` that
            cannot be imported.
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
        minimum_hospitals: int = 1,
        signers: Sequence[Signer | Path] = (),
        allow: Sequence[str] = (),
    ) -> None:
        refuse_main(allow)
        load_extensions(allow)  # what nodes could not import fails here, before any is started
        check_preprocessing(preprocessing, insecure_preprocessing)
        require(2 <= nodes <= 4, "nodes", "2, 3 or 4", nodes)
        require(timeout > 0, "timeout", "positive", timeout)
        require(minimum_hospitals >= 1, "minimum_hospitals", "at least 1", minimum_hospitals)
        require(len(signers) in (0, nodes), "signers", f"none or {nodes}", len(signers))
        import_crypten()
        self.nodes = nodes
        self.signing = bool(signers)
        self._sessions = 0
        self._ready = False
        self._questions = 0
        self._under_way: str | None = None
        self._stopped = "closed"
        # Reentrant, so that a signal handler which asks finds the question under way, no deadlock.
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._processes: list[Process] = []
        self._finalizer = weakref.finalize(self, _stop_own, self._processes, self._owner)
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
                "minimum": minimum_hospitals,
                "allow": list(allow),
                "folders": _folders() if allow else [],
            }
            self._launch(common, route, [_handed(s) for s in signers] or [None] * nodes)
            self._ready = True

    def _close_unless_ready(self) -> None:
        """Leave no process behind when the start fails."""
        if not self._ready:
            self.close()

    def _launch(
        self,
        settings: dict[str, Any],
        route: Callable[[int], int],
        signers: Sequence[dict[str, str] | None],
    ) -> None:
        token, timeout = secrets.token_bytes(32), settings["timeout"]
        tls = Tls(Path(settings["keys"]), "coordinator")
        with listen() as server, Reception(server, token, tls) as reception:
            common = {
                **settings,
                "token": token.hex(),
                "port": server.getsockname()[1],
                "nodes": self.nodes,
            }
            self._processes.append(start("dealer", "secure_fl.mpc.dealer", common))
            for rank in range(self.nodes):
                options = {**common, "rank": rank, "signer": signers[rank]}
                self._processes.append(start(f"node {rank}", "secure_fl.mpc.node", options))
            self._collect(reception, timeout)
        ports = {p.name: self._receive(p)["port"] for p in self._processes}
        plan = {
            "ports": [route(ports[f"node {rank}"]) for rank in range(self.nodes)],
            "dealer_port": ports["dealer"],
        }
        for process in self.node_processes:
            self._channel(process).send(plan)
        for process in self.node_processes:
            self._receive(process)

    def _collect(self, reception: Reception, timeout: float) -> None:
        """Accept the control channels, watching for processes that die before they connect."""
        deadline = time.monotonic() + timeout
        waiting = {p.name: p for p in self._processes}
        while waiting:
            try:
                channel = reception.next({(name, 0) for name in waiting}, 1.0)
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
    def node_processes(self) -> list[Process]:
        """The nodes, in order of rank."""
        return self._processes[1:]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name ("dealer", "node 0", ...)."""
        return {p.name: p.handle.pid for p in self._processes}

    @staticmethod
    def _channel(process: Process) -> Channel:
        if process.control is None:
            raise NodeFailure(f"{process.name} is not connected")
        return process.control

    def _failure(self, process: Process | None, cause: Exception) -> NodeFailure:
        """Say which process ended, if one was killed or crashed: complaints are consequences."""
        time.sleep(0.2)
        for other in self._processes:
            status = other.handle.poll()
            if status not in (None, 0, _GAVE_UP):
                how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                return NodeFailure(f"{other.name} stopped unexpectedly ({how})")
        name = "a process" if process is None else process.name
        return NodeFailure(f"{name} failed: {cause}")

    def _receive_raw(self, process: Process) -> tuple[dict[str, Any], bytearray]:
        with self._giving_up(process):
            header, payload = self._channel(process).receive()
            if header.get("error") == "NodeFailure":
                raise NodeFailure(header["message"])
        return header, payload

    @contextlib.contextmanager
    def _giving_up(self, process: Process) -> Iterator[None]:
        """Stop all if this process is lost; the error names the one that ended first."""
        try:
            yield
        except NodeFailure as failure:
            error = self._failure(process, failure)
            self._stopped = str(error)
            self.close()
            raise error from failure

    @contextlib.contextmanager
    def _turn(self, what: str) -> Iterator[None]:
        """Hold the channels from a question's first byte to its last answer.

        The mark is set before anything is sent and taken away after everything is read, so that
        no interruption, wherever it strikes, leaves the channels out of step unnoticed.

        Raises:
            NodeFailure: the processes are stopped, or belong to another process.
        """
        with self._lock:
            if os.getpid() != self._owner:
                raise NodeFailure("the nodes belong to the process that started them, not to this")
            if self._under_way is not None:
                self._cut_off(self._under_way)
            if not self._processes:
                raise NodeFailure(f"the nodes are stopped: {self._stopped}; open another backend")
            self._under_way = what
            try:
                yield
                self._under_way = None
            finally:
                if self._under_way is not None:
                    self._cut_off(what)

    def _cut_off(self, what: str) -> None:
        """Stop all at once: what they have sent, or still will, answers nobody's question."""
        if self._processes:
            self._stopped = f"the question {what!r} was interrupted"
            kill(self._processes)
        self._under_way = None

    def _receive(self, process: Process) -> dict[str, Any]:
        return self._receive_raw(process)[0]

    @property
    def running(self) -> bool:
        """Whether the processes are up."""
        return bool(self._processes)

    def ask(
        self,
        message: dict[str, Any],
        payload: bytes = b"",
        each: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers, in order of rank.

        Every question has a number, which its answers carry. Threads take turns.

        Args:
            message: for all of them.
            payload: for all of them.
            each: what every node is told beside it, in order of rank.

        Raises:
            NodeFailure: a node or the dealer is gone, an answer is not to this question, or a node
                refused what another did; all are stopped then.
            SecureFLError: the rule refused its input.
        """
        with self._turn(message["do"]):
            self._questions += 1
            number = self._questions
            for rank in range(self.nodes):
                told = {**message, **(each[rank] if each else {}), "question": number}
                self._send(rank, told, payload)
            answers = self._answers(number)
            errors = [header for header, _ in answers if "error" in header]
            if 0 < len(errors) < self.nodes and message["do"] == "aggregate":
                # Their rules' states differ from here on.
                with self._giving_up(self.node_processes[0]):
                    raise NodeFailure(f"only some nodes refused: {errors[0]['message']}")
        for header in errors:
            raise _ERRORS.get(header["error"], SecureFLError)(header["message"])
        return answers

    def _answers(self, number: int) -> list[tuple[dict[str, Any], bytearray]]:
        """Wait for every node's answer, however long: peers that fall silent report each other.

        A node that ends closes its connection, which is an answer too: the first bad one counts.
        """
        answers: dict[str, tuple[dict[str, Any], bytearray]] = {}
        waiting = {self._channel(p).socket: p for p in self.node_processes}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [])
            for sock in ready:
                process = waiting.pop(sock)
                header, payload = self._receive_raw(process)
                with self._giving_up(process):
                    if header.get("question") != number:
                        raise NodeFailure(
                            f"it answered question {header.get('question')}, not {number}"
                        )
                answers[process.name] = header, payload
        return [answers[process.name] for process in self.node_processes]

    def tell(self, rank: int, message: dict[str, Any], *payload: bytes) -> None:
        """Send one message, which has no answer, to one node.

        Raises:
            NodeFailure: a process is gone; all are stopped then.
        """
        with self._turn(message["do"]):
            self._send(rank, message, *payload)

    def _send(self, rank: int, message: Mapping[str, Any], *payload: bytes) -> None:
        process = self.node_processes[rank]
        with self._giving_up(process):
            self._channel(process).send(message, *payload)

    def session(
        self,
        rule: Any,
        hospitals: int,
        dim: int,
        simulation_key: bytes | None = None,
        ties: Ties | None = None,
        faults: Sequence[Fault] = (),
    ) -> MpcSession:
        """Open a session on the nodes.

        Raises:
            InputError: fewer hospitals than the nodes combine; ties without `signers`, or faults
                without ties.
            ConfigError: a stage of one's own that the nodes were not started with.
        """
        if ties is not None and not self.signing:
            raise InputError("the nodes hold no ledger keys: open the backend with signers")
        require(ties is not None or not faults, "faults", "empty without a contract", len(faults))
        pipeline = build_rule(rule)
        refuse_main(pipeline.own_stages)
        with self._lock:
            self._sessions += 1
            number = self._sessions
        return MpcSession(
            self,
            number,
            pipeline,
            hospitals,
            dim,
            HospitalSecrets(simulation_key),
            ties,
            faults,
        )

    def close(self) -> None:
        """Stop all processes."""
        with self._lock:
            _stop_own(self._processes, self._owner)


def _stop_own(processes: list[Process], owner: int) -> None:
    """Stop processes; a fork of the program that started them leaves them alone."""
    if os.getpid() == owner:
        stop(processes)


def _handed(signer: Signer | Path) -> dict[str, str]:
    """How a key is named in a node's start-up line, which that node alone reads.

    Raises:
        KeyUnavailable: the file's password is not set.
    """
    if isinstance(signer, Signer):
        return {"secret": signer.secret.hex()}
    from ledger.keystore import password_of

    return {"keystore": str(signer.resolve()), "password": password_of(signer)}
