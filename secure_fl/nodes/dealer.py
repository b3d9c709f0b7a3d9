"""The dealer process: correlated randomness for the computing nodes, and nothing else.

It must not collude with a node: together with one of two nodes it could decrypt. It sees sizes of
circuits, never a share of data. Started by `secure_fl.backends.shared`.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from secure_fl.errors import InputError, NodeFailure
from secure_fl.mpc.correlations import Dealer, serve
from secure_fl.mpc.handshakes import Reception, connect, listen
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.tls import Tls
from secure_fl.mpc.transport import Channel
from secure_fl.nodes.hangup import HungUp, unless_hung_up
from secure_fl.nodes.starting import DealerStart, read_start

FAILED = 3


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    try:
        _serve(read_start(DealerStart, json.loads(sys.stdin.readline())))
    except HungUp:
        return FAILED
    except (NodeFailure, InputError) as failure:
        print(f"dealer: {failure}", file=sys.stderr)
        return FAILED
    return 0


def _serve(told: DealerStart) -> None:
    token, timeout = bytes.fromhex(told.token), float(told.start)
    tls = Tls(Path(told.keys), "dealer")
    control = connect(told.port, token, "dealer", timeout, "coordinator", tls)
    with unless_hung_up(control):
        _attend(told, control, tls)


def _attend(told: DealerStart, control: Channel, tls: Tls) -> None:
    """Let the nodes in and serve node 0 until it ends the run."""
    token, timeout = bytes.fromhex(told.token), float(told.start)
    server = listen()
    control.send({"port": server.getsockname()[1]})
    nodes = [f"node {rank}" for rank in range(told.nodes)]
    streams, channels = meet(server, token, timeout, tls, nodes)
    # Between two aggregations nothing is asked, for as long as hospitals train.
    channels[0].socket.settimeout(None)
    if told.transcript is not None:
        channels[0].record(f"{told.transcript}/dealer-from-node-0.bin")
    serve(Dealer(streams, channels[0].send_array), channels[0])


def meet(
    server: socket.socket, token: bytes, timeout: float, tls: Tls, nodes: Sequence[str]
) -> tuple[list[Stream], list[Channel]]:
    """Let every node in once and take its key; who it is, its certificate says.

    Raises:
        NodeFailure: one is missing, or sent no key.
    """
    keys: dict[str, bytes] = {}
    channels: dict[str, Channel] = {}
    with Reception(server, token, tls) as reception:
        while waiting := set(nodes) - set(keys):
            channel = reception.next({(name, 0) for name in waiting}, timeout)
            _, key = channel.receive(limit=KEY_BYTES)
            if len(key) != KEY_BYTES:
                raise NodeFailure(f"{channel.peer} sent a key of {len(key)} bytes")
            keys[channel.peer], channels[channel.peer] = bytes(key), channel
    return [Stream(keys[name]) for name in nodes], [channels[name] for name in nodes]


if __name__ == "__main__":
    sys.exit(main())
