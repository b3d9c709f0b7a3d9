"""One contract for every operation: NumPy's value in plain, near it in fixed, and fixed is mpc."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from secure_fl.aggregation.array_ops import ArrayOps
from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.update_ops import UpdateOps
from secure_fl.aggregation.worlds import fixed, plain
from secure_fl.errors import InputError
from tests.support.inside import compute
from tests.support.operations import OPERATIONS, Operation, rows, values
from tests.support.reveal import reveal

BITS = 18
CASES = [
    (f"{name} {i}", each) for name, found in OPERATIONS.items() for i, each in enumerate(found)
]
every_case = pytest.mark.parametrize("case", [c for _, c in CASES], ids=[name for name, _ in CASES])
SEEDS = range(4)


def offered() -> set[str]:
    """Names of the operations that stages may call, but for opening."""
    methods = inspect.getmembers(Ops, inspect.isfunction)
    return {name for name, _ in methods if not name.startswith("_")} - {"open"}


def run(ops: Ops, x: Updates, case: Operation) -> np.ndarray:
    return values(ops, case.program(ops, x), reveal)


def test_every_operation_is_in_the_table() -> None:
    assert offered() == set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_says_its_range_what_it_reveals_and_costs(name: str) -> None:
    text = inspect.getdoc(getattr(Ops, name)) or ""
    assert all(f"{word}:" in text for word in ("Range", "Reveals", "Cost")) or (
        "Range, Reveals, Cost: as" in text
    )
    declared = [base for base in (ArrayOps, UpdateOps) if name in vars(base)]
    assert len(declared) == 1  # in one of two files


@every_case
def test_plain_is_what_numpy_says(case: Operation) -> None:
    for seed in SEEDS:
        x = rows(seed)
        got = run(plain.PlainOps(), plain.encode(torch.from_numpy(x)), case)
        wanted = case.oracle(x)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


@every_case
def test_the_integers_are_as_near_as_the_table_says(case: Operation) -> None:
    for seed in SEEDS:
        x = rows(seed)
        got = run(fixed.ClearOps(), fixed.wrap(torch.from_numpy(x), BITS), case)
        wanted = case.oracle(x)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=case.error)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_shares_give_the_same_bits(name: str) -> None:
    """All cases of an operation in one session, with the ranges and units of the integers."""

    def program(ops: Ops, x: Updates) -> list[tuple[np.ndarray, object]]:
        made = [case.program(ops, x) for case in OPERATIONS[name]]
        return [(values(ops, each, reveal), public(each)) for each in made]

    def public(made: Secret | Updates) -> object:
        if isinstance(made, Secret):
            return (made.shape, made.unit, made.step, made.rows, made.span, made.is_bit)
        return (made.shape, made.unit, made.rows, made.norm_bound)

    for seed, nodes in ((0, 2), (1, 3)):
        x = rows(seed)
        clear = program(fixed.ClearOps(), fixed.wrap(torch.from_numpy(x), BITS))
        for node in compute(program, x, BITS, nodes):
            for (got, said), (wanted, known) in zip(node, clear, strict=True):
                assert np.array_equal(got, wanted)
                assert said == known


@pytest.mark.parametrize("world", ["plain", "fixed", "mpc"])
def test_equality_is_refused(world: str) -> None:
    def program(ops: Ops, x: Updates) -> str:
        norms = ops.squared_norms(x)
        for compared in (lambda: norms == 1.0, lambda: norms != norms, lambda: norms == 1.0):
            with pytest.raises(InputError, match=r"not compared with == or !=.*absolute\(a - b\)"):
                compared()
        return "refused"

    x = rows(0)
    if world == "mpc":
        assert compute(program, x, BITS) == ["refused"] * 2
    elif world == "fixed":
        program(fixed.ClearOps(), fixed.wrap(torch.from_numpy(x), BITS))
    else:
        program(plain.PlainOps(), plain.encode(torch.from_numpy(x)))


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda ops, x: ops.columns(x, []), "indices of columns"),
        (lambda ops, x: ops.columns(x, [70]), "from 0 to 69"),
        (lambda ops, x: ops.row(x, 6), "index must be from 0 to 5"),
        (lambda ops, x: ops.shift(x, torch.zeros(3)), "shape of the shift"),
        (lambda ops, x: ops.shift(x, torch.full((70,), float("nan"))), "finite"),
        (lambda ops, x: ops.combine(x, ops.gram(ops.rows(x, [0, 1]))), "shape of weights"),
        (lambda ops, x: ops.combine(x, ops.squared_norms(x), rows=7), "rows must be from 1"),
        (lambda ops, x: ops.smallest(ops.squared_norms(x), 0), "count must be from 1 to 6"),
        (lambda ops, x: ops.places(ops.gram(x), [0]), r"shape must be \(m,\)"),
        (lambda ops, x: ops.places(ops.squared_norms(x), [6]), "ranks must be some, from 0 to 5"),
        (lambda ops, x: ops.take(ops.gram(x), torch.tensor([36])), "some, from 0 to 35"),
        (lambda ops, x: ops.concatenate([ops.gram(x)]), "shapes must be some"),
        (lambda ops, x: ops.multiply(ops.gram(x), ops.gram(x), most=0.0), "most must be positive"),
        (lambda ops, x: ops.count_at_least(ops.signs(x), 7), "count must be from 1 to 6"),
        (lambda ops, x: ops.count_at_least(ops.squared_norms(x), 1), "bits must be"),
        (lambda ops, x: ops.inverse_root(ops.squared_norms(x), 0.0), "floor must be positive"),
        (lambda ops, x: ops.sum(ops.squared_norms(x), 1), "axis"),
        (lambda ops, x: ops.diagonal(ops.squared_norms(x)), "shape must be"),
        (lambda ops, x: ops.squared_norms(x) & ops.signs(x), "operands of & and"),
        (lambda ops, x: ~ops.squared_norms(x), "operand of ~"),
        (lambda ops, x: ops.nearest(x, 7), "keep must be from 1 to 6"),
    ],
)
def test_what_means_nothing_is_refused_in_every_world(use, said: str) -> None:
    x = torch.from_numpy(rows(0))
    for ops, updates in (
        (plain.PlainOps(), plain.encode(x)),
        (fixed.ClearOps(), fixed.wrap(x, BITS)),
    ):
        with pytest.raises(InputError, match=said):
            use(ops, updates)
