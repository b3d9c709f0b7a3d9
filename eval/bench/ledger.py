"""`secure-fl bench ledger`: what a round costs on the ledger, from tens to hundreds of hospitals.

A round is everything between opening it and reading the new reputations: all signatures of
hospitals, nodes and validators are made and checked, and every hospital's reputation moves. The
first round is played but not counted (it fills caches).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

import ledger
from secure_fl.errors import InputError, require

if TYPE_CHECKING:
    from ledger.client.consortium import Consortium

HOSPITALS = (10, 20, 50, 100, 200, 500)
MODES = ("each", "merkle")
# Below 1, so that accepted hospitals gain and the contract writes every word in every round.
PARAMETERS = ledger.Parameters(initial=0.5)
REJECTED_EVERY = 10


class Row(TypedDict):
    """One point of the curve.

    Attributes:
        hospitals: how many commit.
        mode: "each" (every commitment verified by the contract) or "merkle" (one root a round);
            with "@node", on an external node.
        cpu_ms_per_round: CPU milliseconds of this process, an external node's own not included.
        wall_ms_per_round: milliseconds on the clock.
    """

    hospitals: int
    mode: str
    cpu_ms_per_round: float
    wall_ms_per_round: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl bench ledger`."""
    parser.add_argument(
        "--hospitals",
        type=int,
        nargs="+",
        default=list(HOSPITALS),
        metavar="N",
        help=f"numbers of hospitals (default: {' '.join(map(str, HOSPITALS))})",
    )
    parser.add_argument(
        "--rounds", type=int, default=10, metavar="R", help="rounds to average over (default: 10)"
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        nargs="+",
        default=list(MODES),
        help="verify each commitment on the chain, or one Merkle root a round (default: both)",
    )
    parser.add_argument(
        "--rpc",
        metavar="URL",
        help="measure a development node too (anvil), as modes each@node and merkle@node",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")


def command(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status.

    Raises:
        InputError: a number of hospitals or rounds that cannot be.
    """
    require(options.rounds >= 1, "--rounds", "at least 1", options.rounds)
    for hospitals in options.hospitals:
        require(1 <= hospitals <= 1024, "--hospitals", "1 to 1024", hospitals)
    if options.rpc is not None:
        _check_url(options.rpc)
    rows: list[Row] = []
    if not options.json:
        print(f"{'hospitals':>9}  {'mode':<11}  {'CPU ms/round':>12}  {'wall ms/round':>13}")
    for hospitals in options.hospitals:
        for mode in options.mode:
            found = [measure(hospitals, mode, options.rounds)]
            if options.rpc:
                found.append(measure_node(options.rpc, hospitals, mode, options.rounds))
            rows += found
            if not options.json:
                print("\n".join(map(_line, found)), flush=True)
    if options.json:
        print(json.dumps(rows))
    return 0


def _check_url(url: str) -> None:
    """Refuse what is no node's address; the error shows its scheme alone, no secret in it."""
    parts = urlsplit(url)
    known = parts.scheme in ("http", "https") and bool(parts.hostname)
    require(known, "--rpc", "http://HOST:PORT or https://HOST:PORT", f"{parts.scheme}:...")


def measure(hospitals: int, mode: str, rounds: int) -> Row:
    """Play rounds on a chain in this process and average what they cost."""
    client = ledger.open_chain(hospitals, mode=mode, parameters=PARAMETERS)
    return timed(client, hospitals, mode, rounds)


def measure_node(url: str, hospitals: int, mode: str, rounds: int) -> Row:
    """Play the same rounds on a development node, which must give out funds when asked to.

    Raises:
        LedgerError: the node does not answer, or is not a development node.
    """
    from ledger.chains.rpc import JsonRpc
    from ledger.members.members import Members

    rpc = JsonRpc(url, patience=5)
    chain_id = int(rpc.one("eth_chainId"), 16)
    # A new coordinator for each measurement: its contract and its funds are its own.
    members = Members.simulated(time.time_ns(), hospitals)
    rpc.one("hardhat_setBalance", "0x" + members.coordinator.address.hex(), hex(10**24))
    client = ledger.connect(url, members, chain_id=chain_id, parameters=PARAMETERS, mode=mode)
    return timed(client, hospitals, f"{mode}@node", rounds)


def timed(client: Consortium, hospitals: int, mode: str, rounds: int) -> Row:
    """Average the cost of `rounds` rounds, after one that is not counted."""
    run_round(client, 1, hospitals)
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(2, rounds + 2):
        run_round(client, number, hospitals)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Row(
        hospitals=hospitals,
        mode=mode,
        cpu_ms_per_round=round(1000 * cpu / rounds, 1),
        wall_ms_per_round=round(1000 * wall / rounds, 1),
    )


def run_round(client: Consortium, number: int, hospitals: int) -> None:
    """One round in which every tenth hospital is rejected, another tenth each time."""
    model = client.model_hash if number > 1 else _digest("model", 0)
    client.open_round(number, model)
    client.commit(number, {i: _digest("root", number, i) for i in range(hospitals)})
    committed = client.commitments(number)
    verdicts = [(i + number) % REJECTED_EVERY != 0 for i in range(hospitals)]
    if len(committed) != hospitals:
        raise InputError(f"only {len(committed)} of {hospitals} hospitals committed")
    candidate = _digest("model", number)
    client.record_aggregate(number, _digest("sum", number), verdicts, candidate)
    client.attest(number, [(0.8, 0.5, 0.7)] * len(client.members.validators), candidate)
    client.finalize(number)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def _line(row: Row) -> str:
    return (
        f"{row['hospitals']:>9}  {row['mode']:<11}  {row['cpu_ms_per_round']:>12.1f}  "
        f"{row['wall_ms_per_round']:>13.1f}"
    )
