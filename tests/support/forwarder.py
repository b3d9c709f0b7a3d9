"""Between a client and a node: it passes requests on, and misbehaves as told."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ledger.chains.rpc import JsonRpc


class Forwarder(http.server.BaseHTTPRequestHandler):
    """Passes requests on, loses the answer to some of them after the node has acted, lacks one of
    the node's methods, and takes a batch from its end."""

    protocol_version = "HTTP/1.1"
    target: JsonRpc
    lose: set[str]
    lacks: str = ""
    backwards: bool = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.lacks:
            body = body.replace(f'"{self.lacks}"'.encode(), b'"no_such_method"')
        requests = json.loads(body)
        if self.backwards:
            requests.reverse()
            answer = [one for request in requests for one in self._passed([request])]
        else:
            answer = self._passed(requests)
        methods = [method for method in self.lose if method.encode() in body]
        if methods:
            self.lose.difference_update(methods)
            self.close_connection = True
            return
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _passed(self, requests: list[Any]) -> list[Any]:
        return self.target._post(json.dumps(requests).encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def forwarding(url: str, lacks: str = "", backwards: bool = False) -> Iterator[str]:
    """Address of a forwarder to the node at `url`."""
    Forwarder.target, Forwarder.lose = JsonRpc(url), set()
    Forwarder.lacks, Forwarder.backwards = lacks, backwards
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forwarder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
