"""What parties are told and say when they start, and ask the dealer for: refused by name when it is
forged, here and on real connections."""

from __future__ import annotations

import os
import socket
from typing import Any

import numpy as np
import pytest

import secure_fl
from secure_fl.backends.processes import Process
from secure_fl.backends.shared import MpcBackend
from secure_fl.errors import InputError, NodeFailure
from secure_fl.mpc.correlations import Dealer, serve
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.requests import check_request
from secure_fl.mpc.transport import Channel
from secure_fl.nodes.starting import DealerStart, NodeStart, read_start

COMMON: dict[str, Any] = {"token": 32 * "ab", "port": 5000, "nodes": 2, "start": 60.0}
COMMON |= {"keys": "/keys", "transcript": None}
NODE: dict[str, Any] = {**COMMON, "rank": 1, "timeout": 5.0, "preprocessing": "dealer"}
NODE |= {"network": {"latency_ms": 0.0, "mbit": 10.0, "lanes": 1}, "minimum": 3}
NODE |= {"allow": [], "folders": ["/here"], "state": "/state", "signer": None}


def test_a_start_up_line_is_read_as_its_type() -> None:
    assert read_start(NodeStart, NODE) == NodeStart(**NODE)
    assert read_start(DealerStart, COMMON)._asdict() == COMMON
    for signer in ({"secret": 32 * "01"}, {"keystore": "/k", "password": "p"}):
        assert read_start(NodeStart, {**NODE, "signer": signer}).signer == signer


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"token": "zz"}, "token must be 32 bytes in hexadecimal; got 'zz'"),
        ({"port": 0}, r"port must be a whole number in 1\.\.65535; got 0"),
        ({"port": True}, r"port must be a whole number in 1\.\.65535; got True"),
        ({"nodes": 5}, r"nodes must be a whole number in 2\.\.4; got 5"),
        ({"rank": 3}, "rank must be below nodes, 2; got 3"),
        ({"start": -1}, "start must be a finite number above 0; got -1"),
        ({"timeout": float("inf")}, "timeout must be a finite number above 0; got inf"),
        ({"transcript": 7}, "transcript must be null or at most 65536 characters; got 7"),
        ({"network": {"lanes": 1}}, "network must be latency_ms, mbit and lanes"),
        ({"preprocessing": "none"}, "preprocessing must be dealer or first_party; got 'none'"),
        ({"minimum": 0}, r"minimum must be a whole number in 1\.\..*; got 0"),
        ({"allow": ["a:b", 1]}, "allow must be a list of at most 1000 texts"),
        ({"signer": {"secret": "00"}}, "signer must be null, a secret of 32 bytes"),
        ({"signer": {"keystore": "/k"}}, "signer must be null, a secret of 32 bytes"),
        ({"run": "x"}, "a start-up line NodeStart has no field 'run'"),
    ],
)
def test_a_forged_start_up_line_is_refused_by_name(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_start(NodeStart, {**NODE, **changed})


def test_every_field_of_a_start_up_line_must_be_there() -> None:
    for kind, whole in ((NodeStart, NODE), (DealerStart, COMMON)):
        for name in whole:
            lacking = {key: value for key, value in whole.items() if key != name}
            with pytest.raises(InputError, match=f"must have '{name}'"):
                read_start(kind, lacking)
    with pytest.raises(InputError, match="a start-up line NodeStart must be an object; got 'list'"):
        read_start(NodeStart, [])


class Forged(MpcBackend):
    """Node 1's start-up line is changed on its way."""

    def _start_node(self, rank: int, options: dict[str, Any]) -> Process:
        changed = {"minimum": "none"} if rank == 1 else {}
        return super()._start_node(rank, {**options, **changed})


def test_a_node_that_is_started_with_a_forged_line_says_which_field_it_is(
    capfd: pytest.CaptureFixture,
) -> None:
    with pytest.raises(NodeFailure, match="node 1 stopped unexpectedly"):
        Forged(timeout=30)
    assert "node: minimum must be a whole number in 1..9007199254740991; got 'none'" in (
        capfd.readouterr().err
    )


class Liar(MpcBackend):
    """Its dealer listens on a port that is none, as a party may say that lies."""

    def _collect(self, reception: Any, seconds: float) -> None:
        super()._collect(reception, seconds)
        channel = self._processes[0].channel
        told = channel.receive_header

        def forged(*given: Any) -> tuple[dict[str, Any], int]:
            header, size = told(*given)
            return {**header, "port": "none"}, size

        channel.receive_header = forged  # type: ignore[method-assign]


def test_what_a_party_says_when_it_starts_is_held_to_its_schema() -> None:
    with pytest.raises(NodeFailure, match=r"dealer.* port must be a whole number .* got 'none'"):
        Liar(timeout=30)


# --- the dealer's requests ---------------------------------------------------------------------

MASK = {"kind": "mask", "number": 0, "shape": [2, 3]}
INPUT = {"kind": "input", "first": 0, "shape": [18, 2, 1]}
CIRCUIT = {"kind": "circuit", "first": 2, "name": "negative", "inputs": [0, 1], "width": 1}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "kind must be one of input, circuit, .*; got None"),
        ({"kind": ["mask"]}, "kind must be one of .*"),
        ({"kind": "secrets"}, "kind must be one of .*; got 'secrets'"),
        ({"kind": "mask", "number": 1}, "a request mask must have 'shape'"),
        ({**MASK, "seed": 1}, "a request mask has no field 'seed'"),
        (
            {**MASK, "shape": [1 << 20, 1 << 20]},
            "shape must be a shape of at most 2147483648 words",
        ),
        ({**MASK, "shape": [-1, 2]}, "shape must be a shape"),
        ({**MASK, "number": "0"}, r"number must be a whole number in 0\.\."),
        ({"kind": "products", "count": 2.5}, "count must be a whole number"),
        ({"kind": "products", "count": 1 << 40}, "count must be a whole number"),
        ({"kind": "norms", "number": 7}, r"number must be of masks that are kept; got \[7\]"),
        ({"kind": "release", "numbers": [0, 9]}, r"numbers must be of masks that are kept"),
        ({"kind": "bits", "number": 0, "columns": 3, "index": [None]}, "index must be a list of"),
        ({**CIRCUIT, "params": {}, "name": "system"}, "name must be one of "),
        ({**CIRCUIT, "params": {"x": {}}}, "params must be an object of texts"),
        ({**CIRCUIT, "params": {"drop": 1}}, "params of the circuit negative must be its own"),
        ({**CIRCUIT, "params": {}, "inputs": [0, 5]}, r"inputs must be of masks that are kept"),
    ],
)
def test_a_forged_request_ends_the_dealer_and_names_the_field(
    request_: dict[str, Any], said: str
) -> None:
    """On a real connection: before anything was made for it."""
    ours, theirs = socket.socketpair()
    node, peer = Channel(ours, "dealer"), Channel(theirs, "node 0")
    made: list[np.ndarray] = []
    dealer = Dealer([Stream(os.urandom(KEY_BYTES)) for _ in range(2)], made.append)
    for each in (INPUT if "circuit" in request_.values() else MASK, request_):
        node.send(each)
    with pytest.raises(NodeFailure, match=f"node 0 asked for what is no correlation: {said}"):
        serve(dealer, peer)
    assert made == []
    node.close()
    peer.close()


WIRES = {"kind": "input", "first": 1, "shape": [18, 2, 1]}


@pytest.mark.parametrize(
    "request_",
    [
        {"kind": "rows", "first": 3, "number": 0, "rows": [5]},
        {"kind": "rows", "first": 3, "number": 1, "rows": [2]},
        {"kind": "bits", "number": 1, "columns": 3, "index": [18]},
        {"kind": "bits", "number": 1, "columns": 1 << 20, "index": [0]},
        {"kind": "bits", "number": 0, "columns": 3, "index": [0]},
        {"kind": "norms", "number": 1},
        {"kind": "gram", "number": 1},
        {"kind": "row_dot", "number": 1},
        {"kind": "row_scale", "number": 1},
        {"kind": "combine", "number": 1, "count": 2},
        {"kind": "mux", "number": 1, "mask": 1},
        {"kind": "mux", "number": 0, "mask": 0},
        {"kind": "circuit", "first": 3, "name": "negative", "inputs": [0, 1], "width": 1}
        | {"params": {}},
    ],
    ids=lambda each: "-".join(str(value) for value in each.values()),
)
def test_sizes_that_do_not_fit_the_masks_that_are_kept_are_refused_by_name(
    request_: dict[str, Any],
) -> None:
    ours, theirs = socket.socketpair()
    node, peer = Channel(ours, "dealer"), Channel(theirs, "node 0")
    streams = [Stream(os.urandom(KEY_BYTES)) for _ in range(2)]
    dealer = Dealer(streams, lambda value: None)
    for each in (MASK, WIRES, request_, {"kind": "stop"}):
        node.send(each)
    said = f"node 0 asked for a correlation {request_['kind']} whose sizes do not fit each other"
    with pytest.raises(NodeFailure, match=said):
        serve(dealer, peer)
    node.close()
    peer.close()


def test_what_nodes_ask_for_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart: requests of a rule that takes nearly every kind."""
    from tests.support.inside import play

    kinds = set()
    held = check_request

    def counted(request: Any, kept: Any) -> None:
        held(request, kept)
        kinds.add(request["kind"])

    monkeypatch.setattr("secure_fl.mpc.correlations.check_request", counted)
    x = np.round(np.random.default_rng(0).uniform(-1, 1, (5, 3)) * 2**16) / 2**16
    for rule in ("guarded", "algorithm2"):
        play(secure_fl.build_rule(rule), x, reference=np.ones(3))
    assert kinds >= {"input", "circuit", "bits", "products", "mask", "norms", "row_scale", "step"}
