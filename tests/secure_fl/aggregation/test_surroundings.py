"""What stages see of a round beside its members, in the clear and at nodes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, Stage
from secure_fl.aggregation.dry_run import rehearse_ranges
from secure_fl.aggregation.pipeline import Context, State
from secure_fl.aggregation.surroundings import groups_of, public_seed
from secure_fl.errors import InputError
from tests.support.surrounded import step_towards_the_last

ALLOW = ("tests.support.surrounded:step_towards_the_last",)


def watching(seen: list[Any]) -> Pipeline:
    def apply(context: Context, state: State) -> tuple[Context, State]:
        seen.append((context.surroundings, context.groups(2)))
        return replace(context, update=context.ops.median(context.x)), state

    return Pipeline((Stage(apply),), 2.0)


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_a_stage_sees_the_round_its_seed_and_the_last_update(backend: str) -> None:
    seen: list[Any] = []
    session = secure_fl.open_backend(backend).session(watching(seen), 5, 3)
    x = np.arange(15).reshape(5, 3) / 16
    results, roots = [], []
    for number in range(2):
        submission = session.submit(x * (number + 1) / 2)
        roots.append(submission.commitments)
        results.append(session.aggregate(submission))
    (first, _), (second, groups) = seen
    assert (first.round, second.round) == (1, 2)
    assert first.last is None
    assert torch.equal(second.last, results[0].update)
    assert [s.seed for s in (first, second)] == [public_seed(i + 1, r) for i, r in enumerate(roots)]
    assert groups == groups_of(second.seed, 5, 2)


def test_nodes_see_what_the_clear_sees(cluster: Any) -> None:
    """Steps depend on round and last update: another value at a node would open another update."""
    rule = Pipeline((step_towards_the_last(),), 2.0)
    sessions = [b.session(rule, 4, 5) for b in (cluster, secure_fl.open_backend("fixed"))]
    for number in range(3):
        x = np.random.default_rng(number).uniform(-1, 1, (4, 5))
        shared, clear = (s.aggregate(s.submit(x)) for s in sessions)
        assert torch.equal(shared.update, clear.update)
    sessions[0].close()


def test_the_seed_follows_from_everything_that_was_committed() -> None:
    roots = {0: b"a" * 32, 3: b"b" * 32}
    wanted = b"secure_fl public randomness" + bytes(7) + b"\x02"
    wanted += bytes(4) + b"a" * 32 + bytes(3) + b"\x03" + b"b" * 32
    assert public_seed(2, roots) == hashlib.sha256(wanted).digest()
    assert public_seed(2, dict(reversed(roots.items()))) == public_seed(2, roots)
    others = [{0: b"a" * 32}, {0: b"b" * 32, 3: b"a" * 32}, {1: b"a" * 32, 3: b"b" * 32}]
    assert len({public_seed(2, r) for r in (roots, *others)} | {public_seed(3, roots)}) == 5


def test_groups_divide_all_and_none_is_small() -> None:
    for count in range(1, 30):
        for size in (1, 2, 5):
            groups = groups_of(hashlib.sha256(bytes([count, size])).digest(), count, size)
            assert sorted(i for group in groups for i in group) == list(range(count))
            assert min(map(len, groups)) >= min(size, count)
            assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert len({str(groups_of(bytes([i] * 32), 6, 3)) for i in range(60)}) > 10
    with pytest.raises(InputError, match="at least 1"):
        groups_of(bytes(32), 3, 0)


def test_ranges_of_such_a_rule_are_known_in_advance() -> None:
    rehearse_ranges(Pipeline((step_towards_the_last(),), 2.0), 6, 100_000)


def test_what_could_wrap_is_refused_with_the_stage_s_name() -> None:
    rule = secure_fl.aggregation.build_rule("cosine_root", max_abs=128.0)
    with pytest.raises(
        InputError, match=r"stage cosine_screen: d must be at most 2\^61 .* got d=32769"
    ):
        rehearse_ranges(rule, 20, 32_769)
