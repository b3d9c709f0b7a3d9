"""The dealer process: correlated randomness for the computing nodes, and nothing else.

It must not collude with a node: together with one of two nodes it could decrypt. It sees sizes of
circuits, never a share of data. Started by `secure_fl.mpc.cluster`.
"""

from __future__ import annotations

import json
import sys

from secure_fl.errors import NodeFailure
from secure_fl.mpc.correlations import Dealer, serve
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.transport import accept, connect, listen


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    options = json.loads(sys.stdin.readline())
    token, timeout = bytes.fromhex(options["token"]), float(options["timeout"])
    control = connect(options["port"], token, "dealer", timeout)
    server = listen()
    control.send({"port": server.getsockname()[1]})
    keys: dict[int, bytes] = {}
    channels = {}
    for _ in range(options["nodes"]):
        channel = accept(server, token, timeout)
        header, key = channel.receive(limit=KEY_BYTES)
        rank = int(header["rank"])
        keys[rank], channels[rank] = bytes(key), channel
    server.close()
    # Between two aggregations nothing is asked, for as long as hospitals train.
    channels[0].socket.settimeout(None)
    streams = [Stream(keys[rank]) for rank in range(options["nodes"])]
    dealer = Dealer(streams, lambda words: channels[0].send_array(words))
    try:
        serve(dealer, channels[0])
    except NodeFailure as failure:
        print(f"dealer: {failure}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
