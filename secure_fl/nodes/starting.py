"""What parties are told when they start and say before they serve, as types with a schema.

A start-up line comes on a party's standard input, from whoever starts it; what a party says, the
coordinator holds to its schema as it does answers (`secure_fl.nodes.answers`). A field that is
unknown, missing or mistyped is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from secure_fl.errors import require
from secure_fl.fields import Rule, hold, whole
from secure_fl.nodes.fields import (
    AMOUNT,
    HASH,
    MOST_ROUND,
    PORT,
    SECONDS,
    TEXT,
    or_null,
    ports,
    texts,
)

PREPROCESSING = ("dealer", "first_party")
STOP = {"do": "stop"}
"""What the coordinator says to end a party."""

MOST_NODES = 4
_PATH = or_null(TEXT)
_NETWORK: Mapping[str, Rule] = {"latency_ms": AMOUNT, "mbit": SECONDS, "lanes": whole(1, 8)}


def _is_network(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == _NETWORK.keys()
        and all(rule.holds(value[name]) for name, rule in _NETWORK.items())
    )


def _is_signer(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    if value.keys() == {"secret"}:
        return HASH.holds(value["secret"])
    return value.keys() == {"keystore", "password"} and all(map(TEXT.holds, value.values()))


_COMMON: Mapping[str, Rule] = {
    "token": HASH,
    "port": PORT,
    "nodes": whole(2, MOST_NODES),
    "start": SECONDS,
    "keys": TEXT,
    "transcript": _PATH,
}


class DealerStart(NamedTuple):
    """The dealer's start-up line.

    Attributes:
        token: 32 bytes in hexadecimal, that all parties of one start know.
        port: where the coordinator listens.
        nodes: how many there are.
        start: seconds that the start may take.
        keys: folder of its key and certificate.
        transcript: folder to write down in what it receives; None: nothing is.
    """

    token: str
    port: int
    nodes: int
    start: float
    keys: str
    transcript: str | None

    @classmethod
    def rules(cls) -> Mapping[str, Rule]:
        """What each field must be."""
        return _COMMON


class NodeStart(NamedTuple):
    """A node's start-up line.

    Attributes:
        token, port, nodes, start, keys, transcript: see `DealerStart`.
        rank: its own, from 0.
        timeout: seconds after which a silent peer counts as dead.
        network: fields of `secure_fl.mpc.planning.Network`.
        preprocessing: "dealer" or "first_party".
        minimum: fewest hospitals that it combines.
        allow: stages of somebody's own that it may import, looked for in `folders`.
        state: folder of its memory.
        signer: its ledger key, or where that is kept; None: it signs nothing.
    """

    token: str
    port: int
    nodes: int
    start: float
    keys: str
    transcript: str | None
    rank: int
    timeout: float
    network: dict[str, Any]
    preprocessing: str
    minimum: int
    allow: list[str]
    folders: list[str]
    state: str
    signer: dict[str, str] | None

    @classmethod
    def rules(cls) -> Mapping[str, Rule]:
        """What each field must be."""
        return {
            **_COMMON,
            "rank": whole(0, MOST_NODES - 1),
            "timeout": SECONDS,
            "network": Rule("latency_ms, mbit and lanes, numbers in their ranges", _is_network),
            "preprocessing": Rule(" or ".join(PREPROCESSING), lambda value: value in PREPROCESSING),
            "minimum": whole(1, MOST_ROUND),
            "allow": texts(1000),
            "folders": texts(1000),
            "state": TEXT,
            "signer": Rule("null, a secret of 32 bytes, or keystore and password", _is_signer),
        }


Start = TypeVar("Start", DealerStart, NodeStart)


def read_start(kind: type[Start], told: Any) -> Start:
    """A start-up line as its type.

    Raises:
        InputError: naming the field, the rule and the value, cut short.
    """
    what = f"a start-up line {kind.__name__}"
    require(isinstance(told, dict), what, "an object", type(told).__name__)
    hold(what, told, kind.rules())
    start = kind(**told)
    if isinstance(start, NodeStart):
        require(start.rank < start.nodes, "rank", f"below nodes, {start.nodes}", start.rank)
    return start


# --- what is said before a party serves ----------------------------------------------------------

LISTENING: Mapping[str, Rule] = {"port": PORT}
"""A party listens there for its peers."""


def ready(rank: int) -> Mapping[str, Rule]:
    """A node is joined with all others, and serves."""
    return {"ready": whole(rank, rank)}


def meeting(nodes: int) -> Mapping[str, Rule]:
    """What a node is told then: where its peers and the dealer listen."""
    return {"ports": ports(nodes), "dealer_port": PORT}
