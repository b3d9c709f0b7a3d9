"""What each node receives: no update in the clear, uniform words, sizes that tell nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule, rule_names
from secure_fl.backends import open_backend
from tests.secure_fl.aggregation.oracles import case

RUNS = 10
N, D = 5, 70


class Recorded(NamedTuple):
    """A cluster, and the files in which its nodes write down all they receive."""

    backend: Any
    folder: Path

    def watch(self, act: Callable[[], Any]) -> tuple[Any, dict[str, bytes]]:
        """Do something; return what was received meanwhile, by file."""
        before = {path.name: path.stat().st_size for path in self.folder.glob("*.bin")}
        result = act()
        return result, {
            path.name: path.read_bytes()[before[path.name] :]
            for path in sorted(self.folder.glob("*.bin"))
        }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("transcripts")
    with open_backend("mpc", nodes=2, timeout=60, transcript=folder) as backend:
        yield Recorded(backend, folder)


def aggregated(recorded: Recorded, rule: Any, x: np.ndarray, root: np.ndarray) -> Any:
    return recorded.watch(lambda: secure_fl.aggregate(x, rule, recorded.backend, reference=root))


def between_nodes(received: dict[str, bytes]) -> dict[str, np.ndarray]:
    """The messages of the protocol, without its public frame.

    First come n bytes that say whose shares could be opened, last the shares of the update, which
    `weighted_mean` leaves as multiples of 2^16: those are looked at apart.
    """
    return {
        name: np.frombuffer(data[N : len(data) - 8 * D], np.uint8)
        for name, data in received.items()
        if "from-node" in name
    }


def test_every_channel_is_recorded(recorded: Recorded) -> None:
    _, received = aggregated(recorded, "clipped_mean", *case("plain", N, D)[::2])
    assert set(received) == {
        *("node-0-from-control.bin", "node-0-from-dealer.bin", "node-0-from-node-1.bin"),
        *("node-1-from-control.bin", "node-1-from-dealer.bin", "node-1-from-node-0.bin"),
    }
    for name in ("node-0-from-control.bin", "node-0-from-node-1.bin", "node-0-from-dealer.bin"):
        assert len(received[name]) > 1000, name
    assert received["node-1-from-dealer.bin"] == b""  # it draws all from its own key


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


def found(row: np.ndarray, data: bytes, run: int = 4) -> bool:
    """Whether any `run` neighbouring coordinates lie in the data under any encoding."""
    windows = [row[i : i + run] for i in range(0, len(row) - run + 1)]
    return any(code in data for window in windows for code in encodings(window))


@pytest.mark.parametrize("name", rule_names())
def test_no_node_receives_an_update_in_the_clear(recorded: Recorded, name: str) -> None:
    x, _, root = case("plain", N, D, seed=4)
    result, received = aggregated(recorded, name, x, root)
    for data in received.values():
        assert not any(found(row, data) for row in x)
    # The search finds what is there: the update that was opened, once its shares are added.
    assert found(x[2], b"prefix" + np.rint(x[2] * 2**16).astype("<i4").tobytes())
    assert result.update.shape == (D,)


def test_one_nodes_shares_say_nothing_and_all_together_say_all(recorded: Recorded) -> None:
    """Shares of the same update differ every time; their sum is the update."""
    rule = build_rule("median", max_abs=2.0)
    x = case("plain", 1, D, seed=5)[0]
    firsts = []
    for _ in range(2):
        session = recorded.backend.session(rule, 1, D)
        _, received = recorded.watch(lambda s=session: s.aggregate(s.submit(x)))
        shares = []
        for rank in range(2):
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


@pytest.mark.parametrize(
    ("name", "value"), [*((name, 0.0) for name in rule_names()), ("median", -0.5)]
)
def test_what_a_node_receives_is_uniform(recorded: Recorded, name: str, value: float) -> None:
    """Fixed inputs, many runs: bytes are uniform, and no place in a message is fixed."""
    x, root = np.full((N, D), value), np.full(D, -1.0)
    runs = [aggregated(recorded, name, x, root)[1] for _ in range(RUNS)]
    frames = [between_nodes(received) for received in runs]
    for channel in frames[0]:
        table = np.stack([frame[channel] for frame in frames])  # (runs, bytes)
        if table.shape[1]:  # linear rules exchange nothing but the frame
            assert chi_square(table.ravel()) < CHI_SQUARE_LIMIT
            assert not (table == table[0]).all(axis=0).any()
    dealt = np.stack([np.frombuffer(r["node-0-from-dealer.bin"], np.uint8) for r in runs])
    if dealt.shape[1]:
        assert chi_square(dealt.ravel()) < CHI_SQUARE_LIMIT
        assert not (dealt == dealt[0]).all(axis=0).any()
    for rank in (0, 1):
        tails = [r[f"node-{rank}-from-node-{1 - rank}.bin"][-8 * D :] for r in runs]
        words = np.stack([np.frombuffer(tail, np.uint64) for tail in tails]) >> np.uint64(16)
        middle = np.ascontiguousarray(words & np.uint64(0xFFFFFFFF)).astype("<u4").view(np.uint8)
        assert chi_square(middle.ravel()) < CHI_SQUARE_LIMIT


def test_the_statistic_sees_what_is_not_uniform() -> None:
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, 400_000).astype(np.uint8)
    assert chi_square(uniform) < CHI_SQUARE_LIMIT
    leaky = uniform.copy()
    leaky[:4000] = 0  # one byte in a hundred is not masked
    assert chi_square(leaky) > CHI_SQUARE_LIMIT
    table = uniform.reshape(40, -1).copy()
    assert not (table == table[0]).all(axis=0).any()
    table[:, 17] = 5
    assert (table == table[0]).all(axis=0).any()


# --- sizes ----------------------------------------------------------------------------------------


def inputs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Updates that every rule accepts, of very different sizes and shapes, and a root."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** -(seed % 5)
    x = scale * (1 + 0.1 * rng.random((N, D)))
    if seed == 3:
        x[:] = x[0]
    return np.clip(x, -1.99, 1.99), np.ones(D)


@pytest.mark.parametrize("name", sorted(set(rule_names()) - {"guarded"}))
def test_sizes_and_counts_depend_on_public_parameters_alone(recorded: Recorded, name: str) -> None:
    """`guarded` opens flags of which some differ; it has a test of its own."""
    seen = set()
    for seed in (0, 2, 3):
        result, received = aggregated(recorded, name, *inputs(seed))
        assert result.accepted.all()
        cost = result.cost
        # The control channel carries decimal numbers of sessions: their digits are public.
        sizes = tuple((k, len(v)) for k, v in received.items() if "control" not in k)
        seen.add((sizes, cost.rounds, cost.bytes_online, cost.bytes_offline))
    assert len(seen) == 1


def test_sizes_follow_from_the_flags_that_are_opened(recorded: Recorded) -> None:
    """Equal flags, equal sizes; the flags themselves are declared openings."""
    by_flags: dict[tuple[Any, ...], set[Any]] = {}
    for seed in range(8):
        x, _, root = case("plain", N, D, seed=seed)
        result, received = aggregated(recorded, "guarded", x, root)
        flags = tuple(tuple(result.values[k].tolist()) for k in ("accepted", "used"))
        counts = tuple(sum(f) for f in flags)
        sizes = tuple((k, len(v)) for k, v in received.items() if "control" not in k)
        cost = result.cost
        by_flags.setdefault(counts, set()).add((sizes, cost.rounds, cost.bytes_online))
    assert all(len(kinds) == 1 for kinds in by_flags.values())
    assert sum(len(kinds) for kinds in by_flags.values()) < 8


def test_counters_equal_what_was_received(recorded: Recorded) -> None:
    """Cost is measured, not modelled: the other node received just these bytes."""
    for name in ("median", "algorithm2"):
        result, received = aggregated(recorded, name, *inputs(0))
        size = len(received["node-0-from-node-1.bin"]) - N
        assert result.cost.bytes_online == size == len(received["node-1-from-node-0.bin"]) - N
        assert result.cost.bytes_offline == len(received["node-0-from-dealer.bin"])
        assert result.cost.rounds > 10


@pytest.mark.parametrize("name", rule_names())
def test_what_is_opened_equals_the_declaration(recorded: Recorded, name: str) -> None:
    for kind in ("plain", "extreme"):
        x, _, root = case(kind, N, D)
        result, _ = aggregated(recorded, name, x, root)
        rule = build_rule(name)
        assert tuple(o.name for o in result.opened) == rule.opens
        assert result.opened[-1] == ("update", (D,))
        if result.accepted.all() and name != "guarded":
            assert result.opened == rule.declaration(N, D)
        assert set(result.values) | {"update"} == set(rule.opens)
        assert all(v.dtype == torch.bool for v in result.values.values())
