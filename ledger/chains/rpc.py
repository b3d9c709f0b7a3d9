"""JSON-RPC over HTTP: batches, time limits, and patience while a node is away.

An address may hold secrets (``user:password@``, a key in path or query). They go to the node and
nowhere else: messages name scheme, host and port alone.

A request that the node did not answer is sent again until `patience` runs out. That is safe for
everything this package asks: reading changes nothing, and a signed transaction carries a number
that a chain takes once.

No request's number is used twice, threads take turns, and a connection on which an exchange was
cut off is given up: an answer is never taken for that of another request.
"""

import base64
import http.client
import json
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ledger.errors import LedgerError, NodeUnavailable, require
from ledger.files import parse_json

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
TIMEOUT = 30.0


@dataclass(frozen=True)
class NodeError:
    """The node's refusal of one request.

    Attributes:
        code: JSON-RPC error code.
        message: the node's words.
        data: bytes that came with it, e.g. the output of a reverted call.
    """

    code: int
    message: str
    data: bytes = b""


Request = tuple[str, list[Any]]


class JsonRpc:
    """One node by URL, over one connection that is kept open.

    Attributes:
        place: scheme, host and port of the node, for messages.
        patience: seconds to go on asking a node that does not answer.
        outages: how often the node was found away.
    """

    def __init__(self, url: str, patience: float = 60.0) -> None:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
        require(known, "url", "http://... or https://...", f"{parts.scheme}:...")
        require(patience >= 0, "patience", ">= 0 seconds", patience)
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.patience = patience
        self.outages = 0
        self._parts = parts
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
        self._connection: http.client.HTTPConnection | None = None
        self._asked = 0
        self._lock = threading.Lock()

    def one(self, method: str, *params: Any) -> Any:
        """Result of one request.

        Raises:
            NodeUnavailable: no answer in time.
            LedgerError: the node refused.
        """
        (result,) = self.batch([(method, list(params))])
        if isinstance(result, NodeError):
            raise LedgerError(f"{self.place} refused {method}: {result.message}")
        return result

    def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Results of several requests in one HTTP exchange; a refused one gives a `NodeError`."""
        with self._lock:
            first = self._asked
            self._asked += len(requests)
            body = json.dumps(
                [
                    {"jsonrpc": "2.0", "id": first + i, "method": method, "params": params}
                    for i, (method, params) in enumerate(requests)
                ]
            ).encode()
            answers = {answer["id"]: answer for answer in self._exchange(body)}
        return [_result(answers.get(first + i), method) for i, (method, _) in enumerate(requests)]

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> list[dict[str, Any]]:
        """Post until there is an answer."""
        give_up = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            try:
                return self._post(body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                # Refused, reset, cut off in the middle, or not JSON: the node is not there (yet).
                self.close()
                if pause == FIRST_PAUSE:
                    self.outages += 1
                if time.monotonic() + pause > give_up:
                    raise NodeUnavailable(
                        f"no answer from {self.place} within {self.patience:g} s ({error!r}); "
                        "call again when the node is back, nothing is recorded twice"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _post(self, body: bytes) -> list[dict[str, Any]]:
        if self._connection is None:
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self._connection = kind(str(self._parts.hostname), self._parts.port, timeout=TIMEOUT)
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        with ExitStack() as unless_read:
            unless_read.callback(self.close)
            self._connection.request("POST", path, body, self._headers)
            answer = self._connection.getresponse()
            text = answer.read()
            unless_read.pop_all()
        if answer.status >= 400 and answer.status not in (429, 502, 503, 504):
            raise LedgerError(f"{self.place} answered HTTP {answer.status} {answer.reason}")
        parsed = parse_json(text.decode("utf-8"))
        if not isinstance(parsed, list):
            raise LedgerError(f"{self.place} does not take batches: {text[:200]!r}")
        return parsed


def _result(answer: dict[str, Any] | None, method: str) -> Any:
    if answer is None:
        return NodeError(0, f"no answer to {method} in the batch")
    if "error" not in answer:
        return answer.get("result")
    error = answer["error"]
    data = error.get("data")
    raw = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
    return NodeError(int(error.get("code", 0)), str(error.get("message", "")), raw)
