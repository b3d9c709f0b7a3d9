"""Checks that every attack must pass; run them over an attack of your own with `check_attack`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch

from attacks.base import Attack, AttackView, build

SHAPES: tuple[tuple[int, ...], ...] = ((12,), (1, 8, 8))
# Honest and malicious hospitals that take part, from one attacker alone to all malicious.
SIZES = tuple((n - f, f) for n in (1, 2, 3, 5, 10) for f in range(1, n + 1))


def check_attack(cls: type[Attack], params: Mapping[str, Any] | None = None) -> None:
    """Run all of `CHECKS` on an attack.

    Args:
        cls: an @attack class.
        params: parameters to build it with, where the defaults do not suit small inputs.

    Raises:
        AssertionError: a check failed; the message says which rule was broken.
    """
    for check in CHECKS:
        check(build(cls, params))


def _insist(holds: bool | torch.Tensor, broken: str) -> None:
    """Raise `AssertionError`, also where Python was told to leave `assert` out."""
    if not holds:
        raise AssertionError(broken)


def sample_view(n: int, f: int, d: int, seed: int = 0) -> AttackView:
    """A view as a round would give it."""
    rng = torch.Generator().manual_seed(seed)
    model = torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    return AttackView(3, n, f, rng, model, clip_norm=1.0, defence="median")


def sample_updates(rows: int, d: int, seed: int = 0) -> torch.Tensor:
    """Random updates (rows, d) around a common direction."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(rows, d, generator=rng, dtype=torch.float32) + torch.randn(
        1, d, generator=rng, dtype=torch.float32
    )


def sample_rows(shape: tuple[int, ...], m: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rows x in [0, 1], (m, *shape), and labels 0 and 1."""
    rng = torch.Generator().manual_seed(0)
    return torch.rand(m, *shape, generator=rng, dtype=torch.float32), torch.randint(
        2, (m,), generator=rng
    )


def _cases(attack: Attack) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    for h, f in SIZES:
        own = sample_updates(f, 30, seed=1)
        seen = sample_updates(h, 30) if attack.knowledge == "omniscient" and h else own.clone()
        yield seen, own, h + f


def check_craft_shape(attack: Attack) -> None:
    """`craft` returns one finite row for each malicious hospital, in the dtype of `own`.

    However few are left on either side.
    """
    for honest, own, n in _cases(attack):
        where = f"among {n} hospitals, {len(own)} of them malicious, craft"
        try:
            out = attack.craft(honest, own, sample_view(n, len(own), own.shape[1]))
        except Exception as error:
            raise AssertionError(f"{where} raised {error!r}") from error
        _insist(out.shape == own.shape, f"{where} returned {tuple(out.shape)}, not {own.shape}")
        _insist(out.dtype == own.dtype, f"{where} returned {out.dtype}, not {own.dtype}")
        _insist(torch.isfinite(out).all(), f"{where} returned a value that is not finite")


def check_craft_inputs_untouched(attack: Attack) -> None:
    """`craft` changes none of its arguments and returns rows of its own."""
    for honest, own, n in _cases(attack):
        view = sample_view(n, len(own), own.shape[1])
        given = (honest, own, view.global_model)
        before = [t.clone() for t in given]
        out = attack.craft(honest, own, view)
        out += 1
        _insist(all(map(torch.equal, before, given)), "craft changed its input, or returned it")


def check_craft_deterministic(attack: Attack) -> None:
    """The same generator state gives the same rows."""
    for honest, own, n in _cases(attack):
        one, two = (
            attack.craft(honest, own, sample_view(n, len(own), own.shape[1])) for _ in range(2)
        )
        _insist(torch.equal(one, two), "craft draws randomness from outside view.rng")


def check_poison_contract(attack: Attack) -> None:
    """`poison` keeps dtypes, features and the range [0, 1], and as many labels as rows."""
    for shape in SHAPES:
        x, y = sample_rows(shape)
        px, py = attack.poison(x, y, torch.Generator().manual_seed(0))
        _insist(px.dtype == x.dtype, f"poison returned x of {px.dtype}")
        _insist(py.dtype == y.dtype, f"poison returned y of {py.dtype}")
        _insist(px.shape[1:] == x.shape[1:], "poison changed the features' shape")
        _insist(len(px) == len(py) > 0, "poison returned unequal numbers of rows and labels")
        _insist(px.min() >= 0, "poison left [0, 1]")
        _insist(px.max() <= 1, "poison left [0, 1]")
        _insist(py.min() >= 0, "poison returned a negative label")


def check_poison_inputs_untouched(attack: Attack) -> None:
    """`poison` changes none of its arguments and returns tensors of its own."""
    for shape in SHAPES:
        x, y = sample_rows(shape)
        before = (x.clone(), y.clone())
        px, py = attack.poison(x, y, torch.Generator().manual_seed(0))
        px += 1
        py += 1
        unchanged = torch.equal(x, before[0]) and torch.equal(y, before[1])
        _insist(unchanged, "poison changed its input, or returned it")


def check_poison_deterministic(attack: Attack) -> None:
    """The same generator state gives the same rows."""
    for shape in SHAPES:
        x, y = sample_rows(shape)
        one, two = (attack.poison(x, y, torch.Generator().manual_seed(5)) for _ in range(2))
        _insist(torch.equal(one[0], two[0]), "poison draws randomness from outside rng")
        _insist(torch.equal(one[1], two[1]), "poison draws randomness from outside rng")


def check_bad_parameters_refused(attack: Attack) -> None:
    """A misspelt name, a wrong type and a NaN are refused with ValueError, naming the parameter."""
    bad: list[tuple[str, object]] = [("no_such_parameter", 1)]
    for f in fields(attack):
        bad += [(f.name, object()), (f.name, float("nan"))]
    for name, value in bad:
        message = _refusal(attack, name, value)
        if message is None:
            raise AssertionError(f"{name}={value!r} was accepted")
        _insist(name in message, f"the refusal does not name {name}: {message}")


def _refusal(attack: Attack, name: str, value: object) -> str | None:
    try:
        build(type(attack), {name: value})
    except ValueError as error:
        return str(error)
    return None


def check_objective(attack: Attack) -> None:
    """What the objective is measured by is there and works."""
    if attack.objective == "label_flip":
        distinct = attack.source_class != attack.target_class  # type: ignore[attr-defined]
        _insist(distinct, "source_class equals target_class")
    if attack.objective == "backdoor":
        for shape in SHAPES:
            x, _ = sample_rows(shape)
            before = x.clone()
            out = attack.trigger(x)  # type: ignore[attr-defined]
            _insist(out.shape == x.shape, "trigger changed the shape")
            _insist(torch.equal(x, before), "trigger changed its input")
            _insist(not torch.equal(out, x), "trigger does nothing")
            again = attack.trigger(out)  # type: ignore[attr-defined]
            _insist(torch.equal(again, out), "trigger put on twice changes more than put on once")


CHECKS: tuple[Callable[[Attack], None], ...] = (
    check_craft_shape,
    check_craft_inputs_untouched,
    check_craft_deterministic,
    check_poison_contract,
    check_poison_inputs_untouched,
    check_poison_deterministic,
    check_bad_parameters_refused,
    check_objective,
)
