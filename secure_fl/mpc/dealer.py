"""The dealer process: correlated randomness for the computing nodes, and nothing else.

It must not collude with a node: together with one of two nodes it could decrypt. It sees sizes of
circuits, never a share of data. Started by `secure_fl.mpc.cluster`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from secure_fl.errors import NodeFailure
from secure_fl.mpc.correlations import Dealer, serve
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.tls import Tls
from secure_fl.mpc.transport import accept, connect, listen

FAILED = 3


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    try:
        _serve(json.loads(sys.stdin.readline()))
    except NodeFailure as failure:
        print(f"dealer: {failure}", file=sys.stderr)
        return FAILED
    return 0


def _serve(options: dict[str, Any]) -> None:
    token, timeout = bytes.fromhex(options["token"]), float(options["timeout"])
    tls = Tls(Path(options["keys"]), "dealer")
    control = connect(options["port"], token, "dealer", timeout, "coordinator", tls)
    server = listen()
    control.send({"port": server.getsockname()[1]})
    keys: dict[int, bytes] = {}
    channels = {}
    for _ in range(options["nodes"]):
        channel = accept(server, token, timeout, tls)
        header, key = channel.receive(limit=KEY_BYTES)
        rank = int(header["rank"])
        keys[rank], channels[rank] = bytes(key), channel
    server.close()
    # Between two aggregations nothing is asked, for as long as hospitals train.
    channels[0].socket.settimeout(None)
    if options["transcript"]:
        channels[0].record(f"{options['transcript']}/dealer-from-node-0.bin")
    streams = [Stream(keys[rank]) for rank in range(options["nodes"])]
    serve(Dealer(streams, channels[0].send_array), channels[0])


if __name__ == "__main__":
    sys.exit(main())
