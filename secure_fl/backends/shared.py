"""Starts the nodes and the dealer, and opens sessions on them."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ledger.members.keys import Signer
from secure_fl.aggregation.rules import build_rule
from secure_fl.backends.processes import Process, failure, prepare, start, stop_own
from secure_fl.backends.questions import Check, Questions
from secure_fl.backends.session import LONGEST, Backend, as_hospitals
from secure_fl.backends.shared_session import MpcSession
from secure_fl.errors import ConfigError, InputError, NodeFailure, require
from secure_fl.extensions import load_extensions
from secure_fl.hospital.hospital import Hospital
from secure_fl.inputs import whole_number
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.handshakes import Reception, listen
from secure_fl.mpc.planning import Network
from secure_fl.mpc.tls import Tls, check_keys, make_keys
from secure_fl.nodes.starting import LISTENING, PREPROCESSING, DealerStart, NodeStart, ready

# How long the start may take at least: loading torch on a busy machine is no silence.
_START_SECONDS = 60.0
_DEALER, _NODE = "secure_fl.nodes.dealer", "secure_fl.nodes.node"


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
    at a time (`secure_fl.backends.questions`). Ctrl-C in the middle of one stops the processes.

    Args:
        nodes: computing nodes, 2 to 4.
        timeout: seconds after which a silent peer counts as dead. A node that works, however long,
            says so meanwhile; one that waits for a silent peer says whom, and is listened to half
            as long again. The start may take a minute, if the limit is shorter: Python and torch
            are loaded then.
        transcript: a folder in which each node records all it receives and sends and the key that
            it shares with the dealer, for inspection: whoever reads it knows every update. Its
            files are for their owner alone (mode 0600).
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
            `ledger.members.keystore`) is handed over on its standard input. Without them nodes sign
            nothing.
        allow: stages of your own, "module:function" each, that nodes may import; they do so when
            they start, and refuse a rule with any other. The current directory is looked in.
        state: folder, made if it is not there, in which each node keeps what it took and signed for
            (`secure_fl.nodes.memory`); by default a temporary one, which ends with the nodes.

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
        state: Path | str | None = None,
    ) -> None:
        refuse_main(allow)
        load_extensions(allow)  # what nodes could not import fails here, before any is started
        check_preprocessing(preprocessing, insecure_preprocessing)
        nodes = whole_number(nodes, "nodes")
        minimum_hospitals = whole_number(minimum_hospitals, "minimum_hospitals")
        require(2 <= nodes <= 4, "nodes", "2, 3 or 4", nodes)
        require(0 < timeout <= LONGEST, "timeout", f"above 0, at most {LONGEST:,} s", timeout)
        require(minimum_hospitals >= 1, "minimum_hospitals", "at least 1", minimum_hospitals)
        require(len(signers) in (0, nodes), "signers", f"none or {nodes}", len(signers))
        import_crypten()
        prepare(_DEALER, _NODE)
        self.nodes = nodes
        self.signing = bool(signers)
        self._sessions = itertools.count(1)
        self._ready = False
        self._processes: list[Process] = []
        self._folders = _Folders(None if state is None else Path(state))
        self._remover = weakref.finalize(self, self._folders.remove, os.getpid())
        self._questions = Questions(self._processes, timeout)
        self._finalizer = weakref.finalize(self, stop_own, self._processes, os.getpid())
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_unless_ready)
            if keys is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-fl-"))
                keys = Path(folder) / "keys"
                make_keys(keys, nodes, days=1)
            check_keys(Path(keys), nodes)
            common = {
                "timeout": timeout,
                "start": max(timeout, _START_SECONDS),
                "transcript": None if transcript is None else str(transcript),
                "network": asdict(network or Network()),
                "keys": str(Path(keys).resolve()),
                "preprocessing": preprocessing,
                "minimum": minimum_hospitals,
                "allow": list(allow),
                "folders": _folders() if allow else [],
                "state": str(self._folders.state.resolve()),
            }
            keyed: list[Any] = [_handed(s) for s in signers] or [None] * nodes
            self._launch(common, route, [{"signer": key} for key in keyed])
            self._ready = True

    def _close_unless_ready(self) -> None:
        """Leave no process behind when the start fails."""
        if not self._ready:
            self.close()

    def _launch(
        self,
        settings: dict[str, Any],
        route: Callable[[int], int],
        own: Sequence[dict[str, Any]],
    ) -> None:
        token = secrets.token_bytes(32)
        tls = Tls(Path(settings["keys"]), "coordinator")
        with listen() as server, Reception(server, token, tls) as reception:
            common = {
                **settings,
                "token": token.hex(),
                "port": server.getsockname()[1],
                "nodes": self.nodes,
            }
            dealer = DealerStart(**{name: common[name] for name in DealerStart._fields})
            self._processes.append(start("dealer", _DEALER, dealer._asdict()))
            for rank in range(self.nodes):
                told = NodeStart(**common, rank=rank, **own[rank])
                self._processes.append(self._start_node(rank, told._asdict()))
            self._collect(reception, settings["start"])
        ports = {p.name: self._questions.first(p, LISTENING)["port"] for p in self._processes}
        plan = {
            "ports": [route(ports[f"node {rank}"]) for rank in range(self.nodes)],
            "dealer_port": ports["dealer"],
        }
        for process in self.node_processes:
            process.channel.send(plan)
        for rank, process in enumerate(self.node_processes):
            self._questions.first(process, ready(rank))
        for process in self._processes:
            process.channel.socket.settimeout(settings["timeout"])

    def _start_node(self, rank: int, options: dict[str, Any]) -> Process:
        return start(f"node {rank}", _NODE, options)

    def _collect(self, reception: Reception, seconds: float) -> None:
        """Accept the control channels, watching for processes that die before they connect."""
        deadline = time.monotonic() + seconds
        waiting = {p.name: p for p in self._processes}
        while waiting:
            try:
                channel = reception.next({(name, 0) for name in waiting}, 1.0)
            except NodeFailure as silence:
                dead = [p for p in waiting.values() if p.handle.poll() is not None]
                if dead:
                    ended = NodeFailure("it ended before it connected")
                    raise failure(self._processes, dead[0], ended) from silence
                if time.monotonic() > deadline:
                    raise failure(self._processes, None, silence) from silence
                continue
            channel.socket.settimeout(seconds)
            waiting.pop(channel.peer).control = channel

    @property
    def node_processes(self) -> list[Process]:
        """The nodes, in order of rank."""
        return self._processes[1:]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name ("dealer", "node 0", ...)."""
        return {p.name: p.handle.pid for p in self._processes}

    @property
    def running(self) -> bool:
        """Whether the processes are up."""
        return bool(self._processes)

    def ask(
        self,
        message: dict[str, Any],
        payload: bytes = b"",
        each: Sequence[Mapping[str, Any]] | None = None,
        check: Check | None = None,
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers; see `Questions.ask`."""
        return self._questions.ask(message, payload, each, check)

    def tell(self, rank: int, message: dict[str, Any], *payload: bytes) -> None:
        """Send one message, which has no answer, to one node; see `Questions.tell`."""
        self._questions.tell(rank, message, *payload)

    def session(
        self,
        rule: Any,
        hospitals: int | Sequence[Hospital],
        dim: int,
        simulation_key: bytes | None = None,
    ) -> MpcSession:
        """Open a session on the nodes.

        Raises:
            InputError: fewer hospitals than the nodes combine or the rule needs, or some that sign
                for a contract where nodes hold no keys.
            ConfigError: a stage of one's own that the nodes were not started with.
        """
        members = as_hospitals(hospitals, simulation_key)
        signing = any(hospital.contract is not None for hospital in members)
        if signing and not self.signing:
            raise InputError("the nodes hold no ledger keys: open the backend with signers")
        pipeline = build_rule(rule)
        refuse_main(pipeline.own_stages)
        pipeline.check_hospitals(len(members))
        return MpcSession(self, next(self._sessions), pipeline, members, dim)

    def close(self) -> None:
        """Stop all processes."""
        self._questions.close()
        self._remover()


class _Folders:
    """Where the nodes keep their memory, made if it is not there.

    Attributes:
        state: the folder given, or a temporary one.
    """

    def __init__(self, given: Path | None) -> None:
        self._temporary = given is None
        self.state = Path(tempfile.mkdtemp(prefix="secure-fl-state-")) if given is None else given
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self, owner: int) -> None:
        """Remove what is temporary; a fork of the program that made it leaves it alone."""
        if self._temporary and self.state.exists() and os.getpid() == owner:
            shutil.rmtree(self.state)


def _handed(signer: Signer | Path) -> dict[str, str]:
    """How a key is named in a node's start-up line, which that node alone reads.

    Raises:
        KeyUnavailable: the file's password is not set.
    """
    if isinstance(signer, Signer):
        return {"secret": signer.secret.hex()}
    from ledger.members.keystore import password_of

    return {"keystore": str(signer.resolve()), "password": password_of(signer)}
