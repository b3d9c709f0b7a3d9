"""JSON-RPC: an answer belongs to its request, whoever interrupts and however many ask."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from ledger.chains.rpc import JsonRpc
from ledger.errors import LedgerError


class Echo(BaseHTTPRequestHandler):
    """Answers every request with its first parameter, in reverse order; notes the ids."""

    protocol_version = "HTTP/1.1"
    shift = 0
    disable_nagle_algorithm = True
    ids: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        requests = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Echo.ids += [request["id"] for request in requests]
        answers = [
            {"jsonrpc": "2.0", "id": request["id"] + Echo.shift, "result": request["params"][0]}
            for request in requests[::-1]
        ]
        body = json.dumps(answers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def rpc() -> Iterator[JsonRpc]:
    Echo.shift, Echo.ids = 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        client = JsonRpc(f"http://127.0.0.1:{server.server_port}", patience=5)
        yield client
        client.close()
        server.shutdown()


def test_no_number_is_used_twice(rpc: JsonRpc) -> None:
    assert rpc.batch([("echo", [n]) for n in range(3)]) == [0, 1, 2]
    assert rpc.one("echo", 7) == 7
    assert len(set(Echo.ids)) == len(Echo.ids) == 4
    Echo.shift = -1
    with pytest.raises(LedgerError, match="no answer to echo in the batch"):
        rpc.one("echo", 8)


@pytest.mark.parametrize("place", ["getresponse", "read"])
def test_after_an_interruption_the_next_answer_is_the_next_requests(
    rpc: JsonRpc, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    owner = http.client.HTTPConnection if place == "getresponse" else http.client.HTTPResponse

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    assert rpc.one("echo", 1) == 1
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            rpc.one("echo", 2)
    assert [rpc.one("echo", n) for n in (7, 8, 9)] == [7, 8, 9]
    assert rpc.outages == 0


def test_threads_take_turns(rpc: JsonRpc) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: rpc.one("echo", n), range(60)))
    assert got == list(range(60))
    assert rpc.outages == 0
