"""What a node that cheats can do, and what it cannot: docs/threat-model.md, "A malicious node"."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.errors import NodeFailure
from secure_fl.mpc import disclosure
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import Nonces
from secure_fl.mpc.transport import Mesh
from tests.secure_fl.mpc.test_transport import meshes
from tests.support.inside import Change, Outcome, play

N, D = 5, 7
FEW_ROUNDS, LITTLE_TRAFFIC = Network(latency_ms=100.0), Network(latency_ms=0.0)
MEDIAN = build_rule("median", max_abs=2.0)
SCREEN = build_rule("cosine_root", max_abs=2.0)
HASH = (np.dtype(np.uint64), (disclosure.HASH_WORDS,))


def updates(seed: int = 0) -> np.ndarray:
    """Along the root (ones), so that every screen keeps them all."""
    rng = np.random.default_rng(seed)
    return np.round((0.3 + 0.1 * rng.standard_normal((N, D))) * 2**16) / 2**16


def commits(rule: Any, **options: Any) -> list[int]:
    """Numbers of the exchanges in which nodes commit to what they are about to open."""
    sent: list[tuple[Any, Any]] = []

    def spy(number: int, mine: np.ndarray) -> np.ndarray:
        sent.append((mine.dtype, mine.shape))
        return mine

    play(rule, updates(), spy, **options)
    hashes = [number for number, what in enumerate(sent) if what == HASH]
    return hashes[::2]  # the others compare


def at(number: int, change: Callable[[np.ndarray], None]) -> Change:
    """Change a message in place, so that the node itself goes on with what it sent."""

    def cheat(current: int, mine: np.ndarray) -> np.ndarray:
        if current == number:
            change(mine)
        return mine

    return cheat


def agreed(outcomes: list[Outcome]) -> torch.Tensor:
    """The update that all nodes opened, none of whom noticed anything."""
    first, second = outcomes
    assert first.failure is second.failure is None
    assert first.update is not None
    assert torch.equal(first.update, second.update)
    return first.update


def test_without_cheating_the_nodes_open_what_the_clear_gives() -> None:
    for rule in (MEDIAN, SCREEN, build_rule("guarded")):
        x, root = updates(), np.ones(D)
        clear = secure_fl.aggregate(x, rule, "fixed", reference=root)
        assert torch.equal(agreed(play(rule, x, reference=root)), clear.update)


# --- what it can still do ------------------------------------------------------------------------


def test_shifted_shares_open_one_update_whole() -> None:
    """Half of the other rows far up, half far down: the median is the row in between. The minimum
    does not see it."""
    x, victim = updates(), 2
    shift = np.zeros(x.shape, np.int64)
    shift[[0, 1]], shift[[3, 4]] = 1 << 16, -1 << 16
    opened = agreed(play(MEDIAN, x, shift=shift, minimum=N))
    assert np.array_equal(opened.numpy(), x[victim])


def test_one_flipped_bit_of_one_message_moves_a_median_unnoticed() -> None:
    """Shares carry no authentication codes. Coordinate 0 of one gate, here; no other changes."""
    x = updates()
    honest = secure_fl.aggregate(x, MEDIAN, "fixed").update

    def flip(words: np.ndarray) -> None:
        words.reshape(-1)[0] ^= np.uint64(1)

    moved = 0
    (commit,) = commits(MEDIAN)
    for number in range(commit - 12, commit):
        update = agreed(play(MEDIAN, x, at(number, flip)))
        assert torch.equal(update[1:], honest[1:])
        moved += bool(update[0] != honest[0])
    assert moved > 0


def test_flipped_choices_mix_a_row_into_a_median() -> None:
    """It changes which function is opened: median XOR x_2, say. The minimum does not stop that.

    With all pairs compared, the last gate but one says for every row whether it is the median.
    """
    x, row = updates(), 2
    honest = secure_fl.aggregate(x, MEDIAN, "fixed").update
    (commit,) = commits(MEDIAN, network=FEW_ROUNDS)

    def choose(words: np.ndarray) -> None:
        words.reshape(-1, N, 1)[0, row] ^= np.uint64(2**D - 1)

    update = agreed(play(MEDIAN, x, at(commit - 2, choose), minimum=3, network=FEW_ROUNDS))
    offset = 2**17

    def integers(values: Any) -> np.ndarray:
        return np.rint(np.asarray(values) * 2**16).astype(np.int64) + offset

    assert (integers(update) == integers(honest) ^ integers(x[row])).all()


# --- flags ---------------------------------------------------------------------------------------


def leave_alone(row: int) -> Callable[[np.ndarray], None]:
    """Flip every flag but one, blindly: it has to guess that all are set."""

    def change(words: np.ndarray) -> None:
        words.reshape(-1)[0] ^= np.uint64((2**N - 1) & ~(1 << row))

    return change


def test_flags_turned_to_one_hospital_open_nothing_of_it() -> None:
    """The screen says that hospital 2 alone goes on; the minimum holds after the screen."""
    x, root = updates(), np.ones(D)
    options = {"reference": root, "network": LITTLE_TRAFFIC}
    flags, _ = commits(SCREEN, **options)
    cheat = at(flags - 1, leave_alone(2))  # the carry into the sign
    unguarded = agreed(play(SCREEN, x, cheat, **options))
    assert unguarded.tolist() == x[2].tolist()  # what the minimum is for
    outcomes = play(SCREEN, x, cheat, minimum=3, **options)
    assert not agreed(outcomes).any()
    assert outcomes[0].accepted.tolist() == [False, False, True, False, False]


def test_a_share_told_otherwise_than_committed_ends_the_round() -> None:
    """A node that waits for the other's share of the flags cannot choose its own any more."""
    root = np.ones(D)
    flags, update = commits(SCREEN, reference=root)
    for commit in (flags, update):

        def tell_another(number: int, mine: np.ndarray, told: int = commit + 1) -> np.ndarray:
            other = mine.copy()
            if number == told:
                other[-1] ^= np.uint64(1)
            return other

        honest, _ = play(SCREEN, updates(), tell_another, reference=root)
        assert honest.update is None
        assert "node 1 told another share than it had committed to" in str(honest.failure)


def opened_by(honest: Mesh, cheat: Mesh, act: Callable[[Mesh], None]) -> np.ndarray:
    share = np.arange(3, dtype=np.int64)
    with ThreadPoolExecutor(2) as pool:
        cheating = pool.submit(act, cheat)
        try:
            return disclosure.add(honest, share, Nonces(bytes(16)))
        finally:
            cheating.result()


def test_a_node_that_goes_on_with_another_value_is_noticed() -> None:
    """It tells a share that it does not use itself; the hashes of what was opened differ."""
    honest, cheat = meshes(2)
    nonce = np.zeros(disclosure.HASH_WORDS, np.uint64)

    def tell_one_use_another(mesh: Mesh) -> None:
        words = np.concatenate([nonce, np.array([7, 7, 7], np.uint64)])
        mesh.exchange(disclosure._hash(b"commit", 1, words))
        (told,) = mesh.exchange(words)
        value = told[disclosure.HASH_WORDS :] + np.uint64(1)  # not the sum with 7
        mesh.exchange(disclosure._hash(b"compare", 1, told[: len(nonce)], nonce, value))

    with pytest.raises(NodeFailure, match="node 1 opened another value"):
        opened_by(honest, cheat, tell_one_use_another)
    honest.close()
    cheat.close()


def test_a_repeated_commitment_is_no_commitment() -> None:
    """Another's hash and share handed back would make the flags a public word."""
    honest, cheat = meshes(2)

    def echo(mesh: Mesh) -> None:
        channel = mesh.channels[0]
        for size in (disclosure.HASH_WORDS, disclosure.HASH_WORDS + 3):
            heard = np.empty(size, np.uint64)
            channel.receive_into(heard.data.cast("B"))
            channel.send_array(heard)

    with pytest.raises(NodeFailure, match="told another share than it had committed to"):
        opened_by(honest, cheat, echo)
    honest.close()
    cheat.close()
