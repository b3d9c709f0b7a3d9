"""What each node receives: no update in the clear, uniform words, sizes that tell nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_fl.aggregation import build_rule, rule_names
from secure_fl.backends.aggregate import open_backend
from tests.support.covering import covering_rules, few_repetitions, operations_of
from tests.support.oracles import case
from tests.support.recording import (
    DEALER,
    Recorded,
    between_nodes,
    opened_together,
    relative,
    requests,
    update_shares,
)

RUNS = 4
N, D = 5, 70


FOUR = pytest.param(4, marks=pytest.mark.nightly)


@pytest.fixture(scope="module", params=[2, 3, FOUR], ids="{} nodes".format)
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("transcripts")
    with open_backend("mpc", nodes=request.param, timeout=60, transcript=folder) as backend:
        yield Recorded(backend, folder)


def test_every_channel_is_recorded(recorded: Recorded) -> None:
    _, received = recorded.aggregate("clipped_mean", *case("plain", N, D)[::2])
    nodes = range(recorded.backend.nodes)
    between = {f"node-{i}-from-node-{j}.bin" for i in nodes for j in nodes if i != j}
    control = {f"node-{i}-from-control.bin" for i in nodes}
    dealer = {f"node-{i}-from-dealer.bin" for i in nodes}
    assert set(received) == between | control | dealer | {DEALER}
    for name in between | control | {"node-0-from-dealer.bin", DEALER}:
        assert len(received[name]) > 1000, name
    for name in dealer - {"node-0-from-dealer.bin"}:
        assert received[name] == b""  # they draw all from their own keys


def test_what_is_recorded_is_for_its_owner_alone(recorded: Recorded) -> None:
    """It reveals every update."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in recorded.folder.iterdir()}
    assert {Path(name).suffix for name in modes} == {".key", ".bin", ".out"}
    assert set(modes.values()) == {0o600}


# --- no update in the clear ---------------------------------------------------------------------


def encodings(row: np.ndarray) -> Iterator[bytes]:
    """How an update could lie in memory: integers and floats of all widths, both byte orders."""
    whole = np.rint(row * 2**16).astype(np.int64)
    for order in "<>":
        for kind in ("i4", "i8"):
            yield whole.astype(order + kind).tobytes()
        yield (whole & 0x3FFFF).astype(order + "u4").tobytes()
        yield (whole & 0xFFFFFF).astype(order + "u4").tobytes()
        for kind in ("f4", "f8"):
            yield row.astype(order + kind).tobytes()


def found(row: np.ndarray, data: bytes, run: int = 4, step: int = 16) -> bool:
    """Whether some runs of neighbouring coordinates lie in the data under any encoding.

    An update in the clear holds all of its runs; a part of it would not be uniform.
    """
    windows = [row[i : i + run] for i in range(0, len(row) - run + 1, step)]
    return any(code in data for window in windows for code in encodings(window))


def test_the_search_finds_what_is_in_the_clear() -> None:
    row = case("plain", N, D, seed=4)[0][2]
    for code in (np.rint(row * 2**16).astype("<i4"), row.astype(">f8")):
        assert found(row, b"prefix" + code.tobytes())
        assert not found(row, (code + 1).tobytes())


def test_one_nodes_shares_say_nothing_and_all_together_say_all(recorded: Recorded) -> None:
    """Shares of the same update differ every time; their sum is the update."""
    rule = build_rule("median", max_abs=2.0)
    nodes = recorded.backend.nodes
    x = case("plain", 1, D, seed=5)[0]
    firsts = []
    for _ in range(2):
        session = recorded.backend.session(rule, 1, D)
        _, received = recorded.watch(lambda s=session: s.aggregate(s.submit(x)))
        shares = []
        for rank in range(nodes):
            data = received[f"node-{rank}-from-control.bin"]
            end = data.index(b'{"do": "aggregate"') - 12  # a frame's head is 12 bytes
            shares.append(np.frombuffer(data[end - 4 * D : end], "<u4").astype(np.int64))
        total = (sum(shares) + 2**17) % 2**18 - 2**17
        assert (total == np.rint(x[0] * 2**16)).all()
        firsts.append(shares)
    assert all((a != b).mean() > 0.9 for a, b in zip(*firsts, strict=True))


# --- uniform ------------------------------------------------------------------------------------

# 255 degrees of freedom: mean 255, standard deviation 22.6. A uniform source passes 420 with
# probability 3e-10, and a constant byte in a thousand does not stay below it here.
CHI_SQUARE_LIMIT = 420.0


def chi_square(data: np.ndarray) -> float:
    counts = np.bincount(data, minlength=256)
    expected = len(data) / 256
    return float(((counts - expected) ** 2 / expected).sum())


def fixed_bytes(table: np.ndarray) -> int:
    """Places (runs, bytes) at which all runs agree.

    A word that is not masked is eight of them. Of a million uniform bytes 0.06 agree over four
    runs; eight do with probability 3e-15.
    """
    return int((table == table[0]).all(axis=0).sum())


def fixed_words(table: np.ndarray) -> int:
    """Places (runs, words) at which all runs agree: opened without a mask, for fixed inputs."""
    return int((table == table[0]).all(axis=0).sum())


def told_apart(recorded: Recorded, name: str) -> None:
    """Skip what two nodes show: with more, rules that together take every path stand for all."""
    if recorded.backend.nodes > 2 and name not in covering_rules():
        pytest.skip("its paths are those of rules that are shown with more nodes")


@pytest.mark.parametrize(
    ("name", "value"), [*((name, 0.0) for name in rule_names()), ("median", -0.5)]
)
def test_what_a_node_receives_is_uniform(recorded: Recorded, name: str, value: float) -> None:
    """Fixed inputs, many runs: bytes are uniform, and no word in a message is fixed."""
    told_apart(recorded, name)
    x, root = np.full((N, D), value), np.full(D, -1.0)
    rule = few_repetitions(name)
    runs = [recorded.aggregate(rule, x, root)[1] for _ in range(RUNS)]
    frames = [between_nodes(received, N, D) for received in runs]
    tables = [np.stack([frame[channel] for frame in frames]) for channel in frames[0]]
    assert len(tables) == recorded.backend.nodes * (recorded.backend.nodes - 1)
    tables.append(np.stack([np.frombuffer(r["node-0-from-dealer.bin"], np.uint8) for r in runs]))
    for table in tables:  # (runs, bytes)
        if table.shape[1]:  # linear rules exchange nothing but the frame
            assert chi_square(table.ravel()) < CHI_SQUARE_LIMIT
            assert fixed_bytes(table) < 8
    # Nor does anything come out when the nodes put together what they send: openings that are
    # declared are the update, which is cut off here, and flags, whose messages are their masks.
    sums, bits = (
        np.stack(parts)
        for parts in zip(
            *(opened_together(r, recorded.backend.nodes, N, D) for r in runs), strict=True
        )
    )
    for table in (sums, bits):
        if table.shape[1]:
            assert fixed_words(table) == 0
            # Equal rows lie under masks of their own: no word comes twice, but by a chance of 1e-9.
            assert all(len(np.unique(run)) == len(run) for run in table)
            assert chi_square(table.view(np.uint8).ravel()) < CHI_SQUARE_LIMIT
    for channel in frames[0]:
        words = np.stack([update_shares(r[channel], D).view(np.uint64) for r in runs])
        # A sum that was rounded down leaves with zeros below; a product has 40 bits at the most.
        upper = words[..., None].view(np.uint8)[..., 5:]
        assert chi_square(upper.ravel()) < CHI_SQUARE_LIMIT


def test_the_statistic_sees_what_is_not_uniform() -> None:
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, 400_000).astype(np.uint8)
    assert chi_square(uniform) < CHI_SQUARE_LIMIT
    leaky = uniform.copy()
    leaky[:4000] = 0  # one byte in a hundred is not masked
    assert chi_square(leaky) > CHI_SQUARE_LIMIT
    table = uniform.reshape(RUNS, -1).copy()
    assert fixed_bytes(table) < 8
    table[:, 16:24] = 5  # one word of 12,500
    assert fixed_bytes(table) >= 8


def test_few_rules_take_every_path() -> None:
    paths = {name: operations_of(name) for name in rule_names()}
    assert all(operations_of(name, few=True) == paths[name] for name in paths)
    few = covering_rules()
    assert set().union(*(paths[name] for name in few)) == set().union(*paths.values())
    assert len(few) < len(paths) / 2
    assert len(paths["alignins"]) > len(paths["median"]) > len(paths["mean"]) > 5


# --- sizes ----------------------------------------------------------------------------------------


def inputs(bad: int | None, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Updates along a root, of one size; one hospital against it, or none."""
    rng = np.random.default_rng(seed)
    root = np.sign(rng.standard_normal(D))
    x = scale * root * (1 + 0.2 * rng.random((N, D)))
    if bad is not None:
        x[bad] *= -1
    return x, root


# Nobody is turned away, or one hospital, or another; crowds of very different lengths, one of
# which `clip_norm` leaves alone.
INPUTS = ((None, 1.5, 0), (1, 1.5, 1), (3, 0.001, 2), (None, 0.001, 3))


@pytest.mark.parametrize("name", rule_names())
def test_sizes_and_counts_depend_on_public_parameters_alone(recorded: Recorded, name: str) -> None:
    """Sizes of all messages and their number follow from how many hospitals each screen keeps.

    Those flags are declared openings; which hospitals they keep changes no size, and rules
    without a screen have one size. The dealer is asked for the same in the same order; of the
    flags it hears which rows go on. Nobody receives an update.
    """
    told_apart(recorded, name)
    by_counts: dict[tuple[int, ...], list[Any]] = {}
    flags_seen = set()
    # With more nodes the two that differ most and keep as many.
    chosen = INPUTS if recorded.backend.nodes == 2 else INPUTS[1:3]
    for bad, scale, seed in chosen:
        x, root = inputs(bad, scale, seed)
        result, received = recorded.aggregate(few_repetitions(name), x, root)
        flags = tuple(tuple(flag.tolist()) for flag in result.values.values())
        cost, asked = result.cost, relative(requests(received[DEALER]))
        for request in asked:
            if request["kind"] == "rows":
                request["rows"] = len(request["rows"])
        # The control channel carries decimal numbers of sessions: their digits are public.
        sizes = {k: len(v) for k, v in received.items() if "control" not in k and k != DEALER}
        seen = (sizes, cost.rounds, cost.bytes_online, cost.bytes_offline, asked)
        by_counts.setdefault(tuple(sum(flag) for flag in flags), []).append(seen)
        flags_seen.add(flags)
        if bad == 1:
            assert not any(found(row, data) for data in received.values() for row in x)
    for same in by_counts.values():
        assert all(seen == same[0] for seen in same)
    # Where flags differ for all inputs nothing is compared: for norm_screen, with more nodes.
    apart = ("signguard", "alignins") + (("norm_screen",) if len(chosen) == 2 else ())
    if name not in apart:
        assert len(by_counts) < len(chosen)  # something was compared
    if len(build_rule(name).opens) == 1:
        assert len(by_counts) == 1
    elif name in ("cosine_median", "cosine_pairwise", "cosine_root", "algorithm2"):
        assert len(flags_seen) == len({bad for bad, _, _ in chosen})


def test_a_mean_of_other_weights_leaves_without_its_low_bits(recorded: Recorded) -> None:
    """What the nodes' last messages add up to: whole steps of 2^-16, and no sum of products."""
    nodes = recorded.backend.nodes
    x = case("plain", N, D, seed=7)[0]
    session = recorded.backend.session("weighted_mean", N, D)
    reputation = [0.9, 0.9, 0.45, 0.9, 0.9]
    result, received = recorded.watch(
        lambda: session.aggregate(session.submit(x), reputation=reputation)
    )
    session.close()
    sent = [
        update_shares(received[f"node-{(i + 1) % nodes}-from-node-{i}.bin"], D)
        for i in range(nodes)
    ]
    total = np.add.reduce(sent)
    assert (total % 2**24 == 0).all()
    assert (total / 2.0**40 == result.update.numpy()).all()
    assert result.opened == [("update", (D,), 2.0**-16)]


def test_counters_equal_what_was_received(recorded: Recorded) -> None:
    """Cost is measured, not modelled: the other nodes received just these bytes."""
    nodes = recorded.backend.nodes
    for name in ("median", "algorithm2"):
        result, received = recorded.aggregate(name, *inputs(None, 1.5, 0))
        for rank in range(nodes):
            sizes = [
                len(received[f"node-{peer}-from-node-{rank}.bin"]) - N
                for peer in range(nodes)
                if peer != rank
            ]
            assert result.cost.bytes_online == sum(sizes)
        assert result.cost.bytes_offline == len(received["node-0-from-dealer.bin"])
        assert result.cost.rounds > 10
