"""A computing node's process: receives one share of every update, runs rules with its peers.

It never holds an update in the clear, unless all nodes pool what they have. Started by
`secure_fl.mpc.cluster`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from secure_fl.aggregation.pipeline import Pipeline, State, from_config, run
from secure_fl.errors import InputError, NodeFailure, SecureFLError
from secure_fl.mpc.communicator import install
from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.ring import DealerRing, Ring
from secure_fl.mpc.shared import SharedOps, wrap
from secure_fl.mpc.sharing import SALT_BYTES, ShareMessage, check
from secure_fl.mpc.tls import Tls
from secure_fl.mpc.transport import Channel, Mesh, connect, connect_peers, listen

FAILED = 3


@dataclass
class NodeSession:
    """One rule's state at this node."""

    rule: Pipeline
    hospitals: int
    dim: int
    states: tuple[State, ...]
    inbox: dict[int, ShareMessage] = field(default_factory=dict)


class Node:
    """Serves the commands that arrive on the control channel."""

    def __init__(self, mesh: Mesh, source: NodeSource, ring: Ring) -> None:
        self.mesh = mesh
        self.source = source
        self.ring = ring
        self.sessions: dict[int, NodeSession] = {}

    def serve(self, control: Channel) -> None:
        """Answer until told to stop.

        A rule's own error (a missing reference, say) is the same at every node and is answered;
        the node goes on. A lost peer ends it.
        """
        while True:
            header, payload = control.receive()
            command = header["do"]
            if command == "stop":
                return
            if command == "share":
                self._take_share(header, payload)
                continue
            try:
                reply, parts = self._answer(command, header, payload)
            except NodeFailure:
                raise
            except SecureFLError as error:
                self.ring.finish()
                reply, parts = {"error": type(error).__name__, "message": str(error)}, []
            control.send(reply, *parts)

    def _answer(
        self, command: str, header: dict[str, Any], payload: bytearray
    ) -> tuple[dict[str, Any], list[bytes]]:
        if command == "open":
            rule = from_config(header["rule"])
            session = NodeSession(rule, header["hospitals"], header["dim"], rule.init())
            self.sessions[header["session"]] = session
            return {}, []
        if command == "close":
            self.sessions.pop(header["session"], None)
            return {}, []
        if command == "aggregate":
            return self._aggregate(header, payload)
        raise InputError(f"command must be open, close, share, aggregate or stop; got {command!r}")

    def _take_share(self, header: dict[str, Any], payload: bytearray) -> None:
        """Keep a hospital's share until the aggregation; it is checked there."""
        salt, share = bytes(payload[:SALT_BYTES]), bytes(payload[SALT_BYTES:])
        proof = [bytes.fromhex(part) for part in header["proof"]]
        inbox = self.sessions[header["session"]].inbox
        inbox[int(header["hospital"])] = ShareMessage(salt, share, proof)

    def _checked(
        self, session: NodeSession, roots: dict[int, bytes]
    ) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        """Open commitments; agree with the other nodes on whose shares all of them could open."""
        rows: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        for hospital, root in roots.items():
            if hospital not in session.inbox:
                refused[hospital] = f"node {self.mesh.rank} has no share"
                continue
            message = session.inbox[hospital]
            try:
                rows[hospital] = check(
                    message, root, self.mesh.rank, session.rule.bits, session.dim
                )
            except (InputError, ValueError) as error:
                refused[hospital] = f"node {self.mesh.rank}: {error}"
        session.inbox.clear()
        good = np.zeros(session.hospitals, np.uint8)
        good[list(rows)] = 1
        # Each node names its own reasons; what a peer refuses is dropped here without one.
        for theirs in self.mesh.exchange(good):
            rows = {hospital: row for hospital, row in rows.items() if theirs[hospital]}
        return rows, refused

    def _aggregate(
        self, header: dict[str, Any], payload: bytearray
    ) -> tuple[dict[str, Any], list[bytes]]:
        session = self.sessions[header["session"]]
        roots = {int(h): bytes.fromhex(root) for h, root in header["roots"].items()}
        reference = None
        if payload:
            reference = torch.from_numpy(np.frombuffer(payload, "<f8").copy())
        reputation = torch.tensor(header["reputation"], dtype=torch.float64)
        rows, refused = self._checked(session, roots)
        start, before = perf_counter(), self._counters()
        ops = SharedOps(self.ring)
        hospitals = sorted(rows)
        x = wrap(np.stack([rows[h] for h in hospitals]), session.rule.bits) if rows else None
        update, accepted, session.states = run(
            session.rule,
            session.states,
            ops,
            x,
            hospitals,
            reputation,
            session.dim,
            reference,
        )
        ops.finish()
        elapsed = perf_counter() - start
        offline, rounds, sent, received = (
            after - was for after, was in zip(self._counters(), before, strict=True)
        )
        values = {name: value.numpy() for name, value in ops.values.items()}
        values["update"] = update.numpy()
        reply = {
            "accepted": accepted.int().tolist(),
            "refused": refused,
            "opened": [[name, list(shape)] for name, shape in ops.opened],
            "values": [[name, v.dtype.str, list(v.shape)] for name, v in values.items()],
            "seconds": elapsed,
            "seconds_offline": offline,
            "rounds": rounds,
            "bytes_online": sent,
            "bytes_offline": received,
            "peak_mib": peak_mib(),
        }
        return reply, [v.tobytes() for v in values.values()]

    def _counters(self) -> tuple[float, int, int, int]:
        mesh, source = self.mesh, self.source
        return source.seconds, mesh.rounds, mesh.bytes_sent, source.bytes_received


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


def join(
    options: dict[str, Any], control: Channel, token: bytes, tls: Tls
) -> tuple[Mesh, Channel, Stream]:
    """Connect to the other nodes and the dealer; return the mesh, the dealer and our stream."""
    rank, timeout = options["rank"], float(options["timeout"])
    server = listen()
    control.send({"port": server.getsockname()[1]})
    header, _ = control.receive(limit=0)
    if "ports" not in header:
        raise NodeFailure("stopped before the start")
    mesh = connect_peers(rank, header["ports"], server, token, timeout, tls)
    dealer = connect(header["dealer_port"], token, f"node {rank}", timeout, "dealer", tls)
    key = os.urandom(KEY_BYTES)
    dealer.send({"rank": rank}, key)
    return mesh, dealer, Stream(key)


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    options = json.loads(sys.stdin.readline())
    sys.path.extend(p for p in options["path"] if p not in sys.path)
    torch.set_num_threads(1)
    try:
        _serve(options)
    except NodeFailure as failure:
        print(f"node {options['rank']}: {failure}", file=sys.stderr)
        return FAILED
    return 0


def _serve(options: dict[str, Any]) -> None:
    token, rank = bytes.fromhex(options["token"]), options["rank"]
    name, timeout = f"node {rank}", float(options["timeout"])
    tls = Tls(Path(options["keys"]), name)
    control = connect(options["port"], token, name, timeout, "coordinator", tls)
    mesh, dealer, stream = join(options, control, token, tls)
    # Between two aggregations the control channel is silent for as long as hospitals train.
    control.socket.settimeout(None)
    if options["transcript"]:
        for peer_name, channel in {"control": control, "dealer": dealer}.items():
            channel.record(f"{options['transcript']}/node-{rank}-from-{peer_name}.bin")
        for peer, channel in mesh.channels.items():
            channel.record(f"{options['transcript']}/node-{rank}-from-node-{peer}.bin")
    install(mesh)
    control.send({"ready": rank})
    source = NodeSource(stream, dealer if rank == 0 else None)
    network = Network(**options["network"])
    ring: Ring = DealerRing(mesh, source, network)
    if options["preprocessing"] == "first_party":
        ring = ProviderRing(network)
    try:
        Node(mesh, source, ring).serve(control)
    except NodeFailure as failure:
        with contextlib.suppress(NodeFailure):  # the coordinator itself may be what is lost
            control.send({"error": "NodeFailure", "message": str(failure)})
        raise
    if rank == 0:
        dealer.send({"kind": "stop"})


if __name__ == "__main__":
    sys.exit(main())
