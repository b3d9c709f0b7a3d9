"""A computing node's process: receives one share of every update, runs rules with its peers.

It never holds an update in the clear, unless all nodes pool what they have. Started by
`secure_fl.backends.shared`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ledger.errors import LedgerError
from secure_fl.aggregation.ops import Updates
from secure_fl.aggregation.pipeline import from_config
from secure_fl.aggregation.running import run
from secure_fl.aggregation.surroundings import Surroundings, public_seed
from secure_fl.errors import MISTAKES, InputError, NodeFailure, SecureFLError, require
from secure_fl.extensions import ALLOW_NODE, NONE, Extensions, load_extensions
from secure_fl.fields import hold
from secure_fl.mpc.communicator import install
from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.dealer_ring import DealerRing
from secure_fl.mpc.handshakes import connect, connect_peers, listen
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import KEY_BYTES, Nonces, Stream
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.ring import Ring
from secure_fl.mpc.shared import SharedOps, wrap
from secure_fl.mpc.tls import Tls
from secure_fl.mpc.transport import Channel, Mesh, open_private
from secure_fl.nodes.answers import (
    QUESTION,
    Answer,
    Done,
    Failed,
    Receipts,
    RecordsSigned,
    ResultSigned,
    Statement,
)
from secure_fl.nodes.combined import Combined
from secure_fl.nodes.commands import (
    Aggregate,
    CheckShares,
    CloseSession,
    Command,
    GiveReceipts,
    OpenSession,
    SignRecords,
    SignResult,
    Written,
    read_command,
)
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.fields import MOST_TEXT
from secure_fl.nodes.hangup import HungUp, unless_hung_up
from secure_fl.nodes.inbox import NodeSession
from secure_fl.nodes.memory import Memory
from secure_fl.nodes.messages import Message, Open, Refused, receive
from secure_fl.nodes.pulse import Pulse
from secure_fl.nodes.starting import STOP, NodeStart, meeting, read_start
from secure_fl.types import AggregateResult, Cost

if TYPE_CHECKING:  # a node without a key does not load what signs
    from ledger.members.keys import Signer
    from secure_fl.nodes.attestation import Attester

FAILED = 3


class Node:
    """Serves the commands that arrive on the control channel.

    Args:
        mesh, source, ring: what rules are computed with.
        minimum: fewest hospitals that this node combines, whoever asks, counted after every stage
            of a rule and before the update is opened; with fewer nothing more of anybody is.
        memory: of shares that it took and rounds that it signed for.
        signer: the node's ledger key; None where nothing is signed.
        extensions: stages of somebody's own that whoever started the node permitted. A rule that
            names any other is refused; no message makes a node import anything.
    """

    def __init__(
        self,
        mesh: Mesh,
        source: NodeSource,
        ring: Ring,
        memory: Memory,
        minimum: int = 1,
        signer: Signer | None = None,
        extensions: Extensions = NONE,
    ) -> None:
        self.mesh = mesh
        self.source = source
        self.ring = ring
        self.minimum = minimum
        self.memory = memory
        self.signer = signer
        self.extensions = extensions
        self.sessions: Open[NodeSession] = Open()
        self.attesters: Open[Attester] = Open()

    def serve(self, control: Channel, pulse: Pulse) -> None:
        """Answer until told to stop, with signs of life while an answer is worked on.

        A rule's own error (a missing reference, say) is the same at every node and is answered,
        and so is a message that makes no sense; the node goes on. A lost peer ends it.
        """
        while True:
            try:
                header, payload = receive(control, self.sessions)
            except Refused as error:
                if error.message.get("do") != "share":  # which nobody waits for an answer to
                    control.send(_refusal(error, error.message))
                continue
            if header["do"] == "stop":
                return
            if header["do"] == "share":
                self.sessions[header["session"]].take(header, payload)
                continue
            with pulse.working():
                reply, data = self._attempt(header, payload)
            control.send(reply, data)

    def _attempt(self, header: Message, payload: bytearray) -> Written:
        """The answer to a message, or why there is none."""
        try:
            reply, data = self._answer(read_command(header, payload)).write()
        except NodeFailure:
            raise
        except SecureFLError as error:
            self.ring.finish()
            return _refusal(error, header), b""
        except MISTAKES as error:
            # Its words may quote a share, and go to the coordinator: they stay here.
            traceback.print_exc()
            self.ring.finish()
            failed = SecureFLError(
                f"failed with {type(error).__name__}; the node's stderr has more"
            )
            return _refusal(failed, header), b""
        return {**reply, QUESTION: header.get(QUESTION)}, data

    def _answer(self, command: Command) -> Answer:
        if isinstance(command, Aggregate):
            return self._aggregate(command)
        start = process_time()
        reply = self._short_answer(command)
        return reply._replace(cpu_ms=1000 * (process_time() - start))

    def _short_answer(
        self, command: Command
    ) -> Done | Receipts | Statement | ResultSigned | RecordsSigned:
        """The answer to all but an aggregation."""
        match command:
            case OpenSession():
                self._open(command)
                return Done()
            case CloseSession(session):
                self.sessions.pop(session, None)
                self.attesters.pop(session, None)
                return Done()
            case GiveReceipts(session, number):
                return Receipts(self.attesters[session].receipts(number))
            case CheckShares(session, number, roots, posted_root):
                # Signed before it hears what others found.
                attester = self.attesters[session]
                checked, said = attester.statement(number, roots, posted_root)
                self.sessions[session].checked = checked
                return said
            case SignResult(session, number, result, candidate):
                return ResultSigned(self.attesters[session].result(number, result, candidate))
            case SignRecords(session, number, candidate, records):
                return RecordsSigned(*self.attesters[session].closing(number, candidate, records))
        raise InputError(f"no answer to {command!r}")

    def _open(self, command: OpenSession) -> None:
        rule, hospitals = from_config(command.rule, self.extensions), command.hospitals
        require(hospitals >= self.minimum, "hospitals", f"at least {self.minimum}", hospitals)
        place = (self.mesh.rank, self.mesh.size, self.memory)
        session = NodeSession(rule, hospitals, command.dim, rule.init(), *place)
        if command.contract is not None:
            if self.signer is None:
                raise InputError(f"node {self.mesh.rank} was started without a ledger key")
            attester = self._attester(self.signer, session, command.contract)
            self.attesters[command.session] = attester
        elif self.signer is not None:
            raise InputError(
                f"node {self.mesh.rank} holds a ledger key: it opens no session without a contract"
            )
        self.sessions[command.session] = session

    def _attester(self, signer: Signer, session: NodeSession, contract: Contract) -> Attester:
        from secure_fl.nodes.attestation import Attester

        return Attester(signer, session, contract)

    def _agreed(self, session: NodeSession, mine: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Shares that every node has opened; the nodes tell each other, in the clear."""
        good = np.zeros(session.hospitals, np.uint8)
        good[list(mine)] = 1
        # Each node names its own reasons; what a peer refuses is dropped here without one.
        for theirs in self.mesh.exchange(good):
            mine = {hospital: row for hospital, row in mine.items() if theirs[hospital]}
        return mine

    def _aggregate(self, command: Aggregate) -> Combined:
        session, number, rank = self.sessions[command.session], command.round, self.mesh.rank
        reference, model = (
            None if vector is None else torch.from_numpy(vector)
            for vector in (command.reference, command.model)
        )
        reputation, samples = (
            torch.tensor(values, dtype=torch.float64)
            for values in (command.reputation, command.samples)
        )
        if command.roots is not None:
            signs = command.session in self.attesters
            require(not signs, "roots", "none where the node states whose shares opened", "some")
            session.open_commitments(number, command.roots)
        checked = session.waiting(number)
        ruled = [hospital for hospital, node in command.ruled if node == rank]
        rows = self._agreed(session, checked.in_play(ruled))
        checked.rows.clear()
        start, before = perf_counter(), self._counters()
        ops = SharedOps(self.ring)
        hospitals = sorted(rows)
        last = None if session.result is None else session.result[2].update
        seed = public_seed(number, {hospital: checked.roots[hospital] for hospital in hospitals})
        update, accepted, session.states = run(
            session.rule,
            session.states,
            ops,
            _stacked(rows, session.rule.bits),
            hospitals,
            reputation,
            samples,
            session.dim,
            reference,
            self.minimum,
            Surroundings(number, seed, last, model),
        )
        ops.finish()
        elapsed = perf_counter() - start
        offline = self.source.seconds - before[0]
        rounds, sent, received = (
            after - was for after, was in zip(self._counters()[1:], before[1:], strict=True)
        )
        opened = AggregateResult(update, accepted, ops.opened, ops.values, ops.exits.digests)
        session.result = number, frozenset(hospitals), opened
        values = {name: value.numpy() for name, value in ops.values.items()}
        cost = Cost(max(0.0, elapsed - offline), offline, rounds, sent, received, peak_mib())
        said = accepted.tolist(), checked.refused, ops.opened, ops.exits.digests
        return Combined(*said, values, seed, cost)

    def _counters(self) -> tuple[float, int, int, int]:
        mesh, source = self.mesh, self.source
        return source.seconds, mesh.rounds, mesh.bytes_sent, source.bytes_received


def _refusal(error: SecureFLError, header: Message) -> dict[str, Any]:
    words = str(error)[:MOST_TEXT]
    reply, _ = Failed(type(error).__name__, words).write()
    return {**reply, QUESTION: header.get(QUESTION)}


def _stacked(rows: dict[int, np.ndarray], bits: int) -> Updates | None:
    """Shares as one matrix, in order of hospital; takes them out of `rows`."""
    if not rows:
        return None
    return wrap(np.stack([rows.pop(hospital) for hospital in sorted(rows)]), bits)


def peak_mib() -> float:
    """Return the most memory that this process has used, in MiB.

    Linux's own high-water mark where there is one: `getrusage` inherits the starter's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def join(told: NodeStart, control: Channel, token: bytes, tls: Tls) -> tuple[Mesh, Channel, bytes]:
    """Connect to the other nodes and the dealer; return both, and the key of our stream."""
    rank, start = told.rank, float(told.start)
    server = listen()
    control.send({"port": server.getsockname()[1]})
    header, _ = control.receive(limit=0)
    if header == STOP:
        raise NodeFailure("stopped before the start")
    hold("a meeting", header, meeting(told.nodes))
    peers, lanes = header["ports"], told.network["lanes"]
    mesh = connect_peers(rank, peers, server, token, float(told.timeout), tls, lanes, start)
    port = header["dealer_port"]
    dealer = connect(port, token, f"node {rank}", float(told.timeout), "dealer", tls)
    key = os.urandom(KEY_BYTES)
    dealer.send({}, key)
    return mesh, dealer, key


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    return serve_run(json.loads(sys.stdin.readline()))


def serve_run(options: dict[str, Any], make: Callable[..., Node] = Node) -> int:
    """Serve one run, return the exit status.

    Args:
        options: from the start-up line.
        make: makes the node, from the arguments of `Node`.
    """
    torch.set_num_threads(1)
    name = "node"
    try:
        told = read_start(NodeStart, options)
        name = f"node {told.rank}"
        _serve(told, make)
    except HungUp:
        return FAILED
    except NodeFailure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return FAILED
    except (SecureFLError, LedgerError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def _signer(told: NodeStart) -> Signer | None:
    """The node's ledger key."""
    if told.signer is None:
        return None
    from secure_fl.nodes.attestation import read_signer

    return read_signer(told.signer)


def _record(
    folder: Path, rank: int, key: bytes, control: Channel, dealer: Channel, mesh: Mesh
) -> None:
    """Write down from now on all that this node receives, and what it sends, with its key.

    What it sends follows from the rest (`tests/secure_fl/nodes/test_mpc_replay.py`).
    """
    with open_private(folder / f"node-{rank}.key") as file:
        file.write(key)
    peers = {"control": control, "dealer": dealer}
    for number, lane in enumerate(mesh.lanes):
        also = f"-lane-{number}" if number else ""
        peers |= {f"node-{peer}{also}": channel for peer, channel in lane.channels.items()}
    for name, channel in peers.items():
        channel.record(
            str(folder / f"node-{rank}-from-{name}.bin"), str(folder / f"node-{rank}-to-{name}.out")
        )


def _serve(told: NodeStart, make: Callable[..., Node]) -> None:
    signer = _signer(told)
    extensions = load_extensions(told.allow, told.folders, ALLOW_NODE)
    memory = Memory(Path(told.state) / f"node-{told.rank}.log")

    def made(mesh: Mesh, source: NodeSource, ring: Ring) -> Node:
        return make(mesh, source, ring, memory, told.minimum, signer, extensions)

    name = f"node {told.rank}"
    tls = Tls(Path(told.keys), name)
    start = float(told.start)
    control = connect(told.port, bytes.fromhex(told.token), name, start, "coordinator", tls)
    with unless_hung_up(control):
        _attend(told, made, control, tls)


def _attend(
    told: NodeStart,
    made: Callable[[Mesh, NodeSource, Ring], Node],
    control: Channel,
    tls: Tls,
) -> None:
    """Join the other parties and answer the coordinator until it ends the run."""
    rank, timeout = told.rank, float(told.timeout)
    mesh, dealer, key = join(told, control, bytes.fromhex(told.token), tls)
    # Between two aggregations the control channel is silent for as long as hospitals train.
    control.socket.settimeout(None)
    communicator = install(mesh)
    if told.transcript is not None:
        _record(Path(told.transcript), rank, key, control, dealer, mesh)
    control.send({"ready": rank})
    source = NodeSource(Stream(key), dealer if rank == 0 else None)
    network = Network(**told.network)
    ring: Ring = DealerRing(mesh, source, network, Nonces(key))
    if told.preprocessing == "first_party":
        ring = ProviderRing(network)
    else:
        communicator.silence()
    pulse = Pulse(control, timeout)
    try:
        made(mesh, source, ring).serve(control, pulse)
    except NodeFailure as failure:
        with contextlib.suppress(NodeFailure):  # the coordinator itself may be what is lost
            control.send({"error": "NodeFailure", "message": str(failure)})
        raise
    if rank == 0:
        dealer.send({"kind": "stop"})


if __name__ == "__main__":
    sys.exit(main())
