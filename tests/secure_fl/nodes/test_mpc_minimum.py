"""Nothing is combined of fewer hospitals than the minimum, at the start or at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from secure_fl.aggregation import Pipeline, Stage
from secure_fl.aggregation.pipeline import make_stage
from secure_fl.aggregation.worlds import fixed
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError
from tests.support.found import same
from tests.support.unruly import TOO_FEW, too_few

N, D, MINIMUM = 6, 4, 3


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, Backend]]:
    options: dict[str, Any] = {"minimum_hospitals": MINIMUM}
    own = ("tests.support.unruly:too_few",)
    with open_backend("mpc", nodes=2, timeout=60, allow=own, **options) as nodes:
        yield {name: open_backend(name, **options) for name in ("plain", "fixed")} | {"mpc": nodes}


def rows(*signs: int) -> np.ndarray:
    """Updates with or against the root (ones), all different."""
    rng = np.random.default_rng(2)
    x = np.array(signs)[:, None] * (0.3 + 0.05 * rng.standard_normal((len(signs), D)))
    return np.round(x * 2**16) / 2**16


def everywhere(
    worlds: dict[str, Backend], rule: Any, x: np.ndarray, present: Any = None, **given: Any
) -> Any:
    """Aggregate in all three worlds; the outcome, which is one."""
    results = {}
    for name, backend in worlds.items():
        session = backend.session(rule, *x.shape)
        submission = session.submit(x, present)
        results[name] = session.aggregate(submission, reference=np.ones(D), **given)
        session.close()
    same(results["mpc"], results["fixed"])
    assert results["plain"].accepted.tolist() == results["fixed"].accepted.tolist()
    assert results["plain"].opened == results["fixed"].opened
    assert np.allclose(results["plain"].update, results["fixed"].update, atol=2**-14)
    return results["mpc"]


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_screen_that_leaves_too_few_opens_no_update(
    worlds: dict[str, Backend], kept: int
) -> None:
    """The flags stand, as declared; the public zero stands for the update."""
    result = everywhere(worlds, "cosine_root", rows(*[1] * kept, *[-1] * (N - kept)))
    assert result.accepted.tolist() == [i < kept for i in range(N)]
    assert bool(result.update.any()) == (kept >= MINIMUM)
    assert [opening.name for opening in result.opened] == ["accepted", "update"]


def test_no_further_stage_runs_on_too_few(worlds: dict[str, Backend]) -> None:
    screen = {"cosine_screen": {"reference": "root"}}
    rule = {"max_abs": 2.0, "stages": ["clip_norm", screen, "coordinate_median"]}
    assert not everywhere(worlds, rule, rows(1, 1, -1, -1, -1, -1)).update.any()


@pytest.mark.parametrize(
    ("reputation", "combined"),
    [
        ([1, 0, 0, 0, 0, 0], False),
        ([1, 0.01, 0.01, 0.01, 0.01, 0.01], False),
        ([1, 0.5, 0.1, 0.1, 0.1, 0.1], False),
        ([1, 0.5, 0.5, 0, 0, 0], True),
        ([1, 0.2, 0.2, 0.2, 0.2, 0.2], True),
        ([0, 0, 0, 0, 0, 0], True),  # the mean is unweighted then
    ],
)
def test_rows_without_real_weight_count_as_absent(
    worlds: dict[str, Backend], reputation: list[float], combined: bool
) -> None:
    result = everywhere(worlds, "weighted_mean", rows(*[1] * N), reputation=reputation)
    assert bool(result.update.any()) == combined
    assert result.accepted.all()


@pytest.mark.parametrize(
    ("reputation", "combined"),
    [
        ([1, 0.16, 0.16, 0.16, 0.16, 0.16], False),  # every value would be the first one's
        ([1, 0.25, 0.25, 0.25, 0.125, 0.125], False),  # or the sum of that and another's
        ([0.5, 0.5, 0.125, 0.125, 0.125, 0.125], True),
        ([1, 1, 1, 1, 1, 0.9], True),
    ],
)
def test_a_median_whose_values_are_all_one_hospitals_is_not_opened(
    worlds: dict[str, Backend], reputation: list[float], combined: bool
) -> None:
    x = rows(1, -1, 1, -1, 1, -1)
    result = everywhere(worlds, "weighted_median", x, reputation=reputation)
    assert bool(result.update.any()) == combined
    library = open_backend("fixed").session("weighted_median", N, D)
    alone = library.aggregate(library.submit(x), reputation=reputation).update
    assert combined or all(bool(alone[j]) for j in range(D))
    if reputation[1] == 0.16:
        assert np.array_equal(alone, x[0])  # what must not be opened


@pytest.mark.parametrize("synthetic", [0.0, 0.5, 1.0])
def test_copies_of_one_row_do_not_count_as_hospitals(
    worlds: dict[str, Backend], synthetic: float
) -> None:
    rule = {"max_abs": 2.0, "stages": [{"foundation": {"synthetic": synthetic}}]}
    x = rows(*[1] * N)
    assert bool(everywhere(worlds, rule, x).update.any()) == (synthetic < 1)
    library = open_backend("fixed").session(rule, N, D)
    alone = library.aggregate(library.submit(x)).update.numpy()
    one = [bool(np.array_equal(alone, row)) for row in x]
    assert any(one) == (synthetic == 1)


def test_secret_weights_that_leave_one_hospital_alone_open_nothing(
    worlds: dict[str, Backend],
) -> None:
    rng = np.random.default_rng(4)
    alike = np.tile(rng.standard_normal(D), (N, 1)) * 0.3
    alike[-1] = 0.3 * rng.standard_normal(D)
    x = np.round(alike * 2**16) / 2**16
    assert not everywhere(worlds, "foolsgold", x).update.any()
    library = open_backend("fixed").session("foolsgold", N, D)
    alone = library.aggregate(library.submit(x)).update.numpy()
    assert np.allclose(alone, x[-1], atol=1e-3)  # what must not be opened
    # One row amid others that are far from it and from each other.
    amid = np.vstack([np.eye(D), -np.eye(D)])[: N - 1]
    amid = np.vstack([amid, amid.mean(axis=0)])
    rule = {"max_abs": 2.0, "stages": [{"geometric_median": {"smoothing": 2.0**-6, "steps": 30}}]}
    assert not everywhere(worlds, rule, amid).update.any()
    assert everywhere(worlds, rule, rows(*[1] * N)).update.any()


@pytest.mark.parametrize("there", [0, 1, 2, 3])
def test_too_few_at_the_start(worlds: dict[str, Backend], there: int) -> None:
    present = [i < there for i in range(N)]
    for rule in ("median", "cosine_root"):
        result = everywhere(worlds, rule, rows(*[1] * N), present)
        assert bool(result.update.any()) == (there >= MINIMUM)
        assert result.accepted.tolist() == present
        flags = 1 if rule == "cosine_root" and there >= MINIMUM else 0
        assert len(result.opened) == flags + 1


def test_the_better_half_is_never_fewer_than_the_minimum(worlds: dict[str, Backend]) -> None:
    """Of four hospitals the better half is two; three go on."""
    x = rows(1, 1, 1, 1, 1, 1)
    present = [True] * 4 + [False] * 2
    result = everywhere(worlds, "guarded", x, present)
    assert int(result.values["used"].sum()) == MINIMUM
    assert bool(result.update.any())
    everybody = everywhere(worlds, "guarded", x)
    assert int(everybody.values["used"].sum()) == N // 2


def test_arithmetic_does_not_hide_how_few_rows_there_are() -> None:
    ops = fixed.ClearOps()
    x = fixed.wrap(torch.ones(3, 2, dtype=torch.float64), 18)
    one = ops.weighted_mean(x, torch.tensor([1.0, 0.0, 0.0]))
    everybody = ops.median(x)
    assert (one.rows, everybody.rows) == (1, 3)
    bit = everybody < 2.0
    for mixed in (
        one + everybody,
        everybody - one,
        one * 0.5,
        2.0 * one,
        (one + 0.25) - everybody,
        ops.add(one, 0.0),
        ops.subtract(everybody, one),
        ops.multiply(one, bit),
        ops.mean_of([everybody, one]),
        ops.mean_of([one]),
        ops.absolute(one),
        ops.maximum(everybody, one),
        ops.minimum(one, everybody),
        ops.both(bit, one < 2.0),
        ops.invert(one < 2.0),
        ops.sum(one),
        ops.median_of(one),
        *ops.order_statistics(ops.rows(x, [2]), [0]),
    ):
        assert mixed.rows == 1


@pytest.mark.parametrize("way", sorted(TOO_FEW))
def test_a_stage_that_errs_does_not_make_one_row_seem_more(
    worlds: dict[str, Backend], way: str
) -> None:
    """Refused by name, or the public zero stands for the update: in every backend."""
    rule = Pipeline((too_few(way), *after(way)), 2.0)
    message = TOO_FEW[way][1]
    if message is None:
        result = everywhere(worlds, rule, rows(*[1] * N))
        assert not result.update.any()
        assert [opening.name for opening in result.opened] == ["update"]  # no flag of too few
        return
    for backend in worlds.values():
        session = backend.session(rule, N, D)
        with pytest.raises(InputError, match=message):
            session.aggregate(session.submit(rows(*[1] * N)))
        session.close()


def after(way: str) -> tuple[Stage, ...]:
    """A screen and the median, where a way leaves no update of its own."""
    own = way.startswith(("mean", "one", "median", "a_minimum"))
    return (
        ()
        if own
        else (
            make_stage("cosine_screen", {"reference": "root"}),
            make_stage("coordinate_median", {}),
        )
    )


@pytest.mark.parametrize("name", ["plain", "fixed"])
def test_what_a_clear_backend_refuses(name: str) -> None:
    with pytest.raises(InputError, match="minimum_hospitals must be at least 1; got 0"):
        open_backend(name, minimum_hospitals=0)
    with pytest.raises(InputError, match="hospitals must be at least 3; got 2"):
        open_backend(name, minimum_hospitals=3).session("median", 2, D)
    with pytest.raises(InputError, match=r"minimum_hospitals alone .*\['timeout'\]"):
        open_backend(name, timeout=3)


def test_a_rule_of_the_mean_alone_takes_the_minimum_too(worlds: dict[str, Backend]) -> None:
    rule = Pipeline((make_stage("weighted_mean", {"by": "uniform"}),), 2.0)
    assert not everywhere(worlds, rule, rows(*[1] * N), [True, True] + [False] * 4).update.any()
