"""Checks that every attack must pass; run them over an attack of your own with `check_attack`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from attacks.base import Attack, Testimony, knows, trigger_moves
from attacks.memory import Memory, pack, unpack
from attacks.registry import build
from attacks.samples import (
    Linear,
    awake,
    members,
    rows_of,
    sample_facts,
    sample_rows,
    sample_updates,
    sample_view,
)
from attacks.view import AttackView, Outcome, knowledge_of, told

SHAPES: tuple[tuple[int, ...], ...] = ((12,), (1, 8, 8))
# Honest and malicious hospitals that take part, from one attacker alone to all malicious.
SIZES = tuple((n - f, f) for n in (1, 2, 3, 5, 10) for f in range(1, n + 1))
FEW = SIZES[::5]
DIM = 30
NODE_KINDS = ("denial", "denial_without_receipt")
KINDS = ("wrong_share", "useless_proof", "short_share", "withheld_share", "unsigned_share")


def check_attack(cls: type[Attack], params: Mapping[str, Any] | None = None) -> None:
    """Run all of `CHECKS` on an attack.

    It is told what it declares and no more, so reading anything else fails.

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


def _seen(attack: Attack, honest: int, own: torch.Tensor) -> torch.Tensor:
    """What a round would show as `honest`."""
    if knows(attack, "honest") and honest:
        return sample_updates(honest, own.shape[1])
    return own.clone()


def _view(attack: Attack, n: int, f: int) -> AttackView:
    return awake(attack, sample_view(n, f, DIM, attack=attack))


def _cases(
    attack: Attack, sizes: Sequence[tuple[int, int]] = SIZES
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    for h, f in sizes:
        own = sample_updates(f, DIM, seed=1)
        yield _seen(attack, h, own), own, h + f


def check_craft_shape(attack: Attack) -> None:
    """`craft` returns one finite row for each malicious hospital, in the dtype of `own`.

    However few are left on either side. An attack with `finite = False` may send what is not.
    """
    for honest, own, n in _cases(attack):
        where = f"among {n} hospitals, {len(own)} of them malicious, craft"
        try:
            out = rows_of(attack.craft(honest, own, _view(attack, n, len(own))))
        except Exception as error:
            raise AssertionError(f"{where} raised {error!r}") from error
        _insist(isinstance(out, torch.Tensor), f"{where} returned {out!r}, not a tensor")
        _insist(out.shape == own.shape, f"{where} returned {tuple(out.shape)}, not {own.shape}")
        _insist(out.dtype == own.dtype, f"{where} returned {out.dtype}, not {own.dtype}")
        finite = not attack.finite or torch.isfinite(out).all()
        _insist(finite, f"{where} returned a value that is not finite")


def check_craft_inputs_untouched(attack: Attack) -> None:
    """`craft` changes none of its arguments and returns rows of its own."""
    for honest, own, n in _cases(attack, FEW):
        view = _view(attack, n, len(own))
        remembered = [value for value in view.memory.values() if isinstance(value, torch.Tensor)]
        given = (honest, own, *(x for x, _ in view.rows), *remembered)
        before = [t.clone() for t in given]
        out = rows_of(attack.craft(honest, own, view))
        out += 1
        same = all(torch.equal(a, b) for a, b in zip(before, given, strict=True))
        _insist(same, "craft changed its input, or returned it")


def check_craft_deterministic(attack: Attack) -> None:
    """The same generator state gives the same rows."""
    for honest, own, n in _cases(attack, FEW):
        one, two = (
            rows_of(attack.craft(honest, own, _view(attack, n, len(own)))) for _ in range(2)
        )
        same = torch.equal(one.nan_to_num(), two.nan_to_num())
        _insist(same, "craft draws randomness from outside view.rng")


def check_memory_round_trip(attack: Attack) -> None:
    """What is remembered can be stored; read back, it leads to the same rows for three rounds."""
    for honest, own, n in _cases(attack, FEW):
        try:
            straight = _played(attack, honest, own, n, lambda memory: memory)
            stored = _played(attack, honest, own, n, lambda memory: unpack(pack(memory)))
        except TypeError as error:
            raise AssertionError(f"what is remembered cannot be stored: {error}") from error
        for one, two in zip(straight, stored, strict=True):
            same = torch.equal(one.nan_to_num(), two.nan_to_num())
            _insist(same, "rows depend on more than what is remembered and given")


def _played(
    attack: Attack,
    honest: torch.Tensor,
    own: torch.Tensor,
    n: int,
    keep: Callable[[Memory], Memory],
) -> list[torch.Tensor]:
    """Rows of three rounds, each beginning with the memory as `keep` gives it back."""
    view = sample_view(n, len(own), DIM, attack=attack)
    memory, sent = keep(attack.init(view)), []
    for number in range(3):
        rng = torch.Generator().manual_seed(number)
        view = replace(view, round=number, rng=rng, memory=memory)
        view = replace(view, memory=keep(attack.prepare(view)))
        given = attack.craft(honest, own, view)
        rows, memory = given if isinstance(given, tuple) else (given, view.memory)
        memory = keep(memory)
        sent.append(rows)
    return sent


def _poisoning(attack: Attack, shape: tuple[int, ...], rank: int, count: int) -> AttackView:
    """A view in which a member's rows of some shape are poisoned."""
    dim = Linear(shape).num_parameters
    known = knowledge_of(attack.knowledge) if attack.every_round else frozenset()
    view = AttackView(
        round=3,
        num_hospitals=10,
        num_malicious=count,
        rng=torch.Generator().manual_seed(5),
        members=tuple(range(count)),
        rank=rank,
        rows=tuple(sample_rows(shape, seed=i) for i in range(count)),
        attack=type(attack).__name__,
        facts=told(known, sample_facts(10, count, dim, shape, _unjudged)),
    )
    return awake(attack, view) if attack.every_round else view


def _unjudged(updates: torch.Tensor) -> Outcome:
    return Outcome(updates.double().mean(dim=0), torch.ones(len(updates), dtype=torch.bool))


def _poisonings(attack: Attack) -> Iterator[tuple[tuple[int, ...], int, int]]:
    for shape in SHAPES:
        for count in (1, 4):
            for rank in members(count):
                yield shape, rank, count


def check_poison_contract(attack: Attack) -> None:
    """`poison` keeps dtypes, features, the range [0, 1] and the classes, and as many labels as
    rows."""
    for shape, rank, count in _poisonings(attack):
        x, y = sample_rows(shape)
        view = _poisoning(attack, shape, rank, count)
        px, py = attack.poison(x, y, view)
        _insist(px.dtype == x.dtype, f"poison returned x of {px.dtype}")
        _insist(py.dtype == y.dtype, f"poison returned y of {py.dtype}")
        _insist(px.shape[1:] == x.shape[1:], "poison changed the features' shape")
        _insist(len(px) == len(py) > 0, "poison returned unequal numbers of rows and labels")
        _insist(px.min() >= 0, "poison left [0, 1]")
        _insist(px.max() <= 1, "poison left [0, 1]")
        _insist(py.min() >= 0, "poison returned a negative label")
        _insist(py.max() < view.classes, f"poison returned label {py.max()}, of {view.classes}")


def check_poison_inputs_untouched(attack: Attack) -> None:
    """`poison` changes none of its arguments and returns tensors of its own."""
    for shape, rank, count in _poisonings(attack):
        x, y = sample_rows(shape)
        before = (x.clone(), y.clone())
        px, py = attack.poison(x, y, _poisoning(attack, shape, rank, count))
        px += 1
        py += 1
        unchanged = torch.equal(x, before[0]) and torch.equal(y, before[1])
        _insist(unchanged, "poison changed its input, or returned it")


def check_poison_deterministic(attack: Attack) -> None:
    """The same generator state gives the same rows."""
    for shape, rank, count in _poisonings(attack):
        x, y = sample_rows(shape)
        one, two = (attack.poison(x, y, _poisoning(attack, shape, rank, count)) for _ in range(2))
        _insist(torch.equal(one[0], two[0]), "poison draws randomness from outside view.rng")
        _insist(torch.equal(one[1], two[1]), "poison draws randomness from outside view.rng")


def check_training_hooks(attack: Attack) -> None:
    """`constrain` and `project` keep shapes and inputs, stay finite, and treat rows one by one."""
    for f in (1, 4):
        view = replace(_view(attack, 10, f), step=0)
        start = sample_updates(1, DIM, seed=7)[0]
        params, gradient = start + sample_updates(f, DIM, seed=8), sample_updates(f, DIM, seed=9)
        given = (params, gradient, start)
        before = [t.clone() for t in given]
        after = {
            "constrain": attack.constrain(params, gradient, start, view),
            "project": attack.project(params, start, view),
        }
        alone = {
            "constrain": attack.constrain(params[-1:], gradient[-1:], start, view),
            "project": attack.project(params[-1:], start, view),
        }
        _insist(all(map(torch.equal, before, given)), "a training hook changed its input")
        for hook, rows in after.items():
            _insist(rows.shape == params.shape, f"{hook} returned {tuple(rows.shape)}")
            _insist(rows.isfinite().all(), f"{hook} returned a value that is not finite")
            same = torch.allclose(rows[-1:], alone[hook], rtol=1e-4, atol=1e-5)
            _insist(same, f"{hook} does not treat each row by itself")


def check_encode(attack: Attack) -> None:
    """`encode` returns int64 integers of the same shape, the same again, and changes no input."""
    integers = (sample_updates(1, DIM, seed=4)[0] * 1000).to(torch.int64)
    for bits in (18, 64):
        before = integers.clone()
        one, two = (
            attack.encode(integers, bits, replace(_view(attack, 10, 3), rank=1)) for _ in range(2)
        )
        _insist(one.shape == integers.shape, f"encode returned {tuple(one.shape)}")
        _insist(one.dtype == torch.int64, f"encode returned {one.dtype}")
        _insist(torch.equal(one, two), "encode draws randomness from outside view.rng")
        _insist(torch.equal(integers, before), "encode changed its input")


def check_corrupt(attack: Attack) -> None:
    """`corrupt` names deeds of nodes that exist, and each share once."""
    found = list(attack.corrupt())
    for hospital, kind, node in found:
        _insist(hospital >= 0, f"corrupt names hospital {hospital}")
        _insist(node >= 0, f"corrupt names node {node}")
        _insist(kind in NODE_KINDS, f"corrupt names {kind}, which is none of {NODE_KINDS}")
    places = [(hospital, node) for hospital, _, node in found]
    _insist(len(set(places)) == len(places), "corrupt names one share twice")


def check_validators(attack: Attack) -> None:
    """Validators' hooks keep shapes and inputs, and an attack has at most all validators."""
    for validators in (1, 3, 5):
        count = attack.dishonest(validators)
        _insist(0 <= count <= validators, f"dishonest says {count} of {validators}")
    for shape in SHAPES:
        x, y = sample_rows(shape)
        before = (x.clone(), y.clone())
        one, two = (attack.poison_public(x, y, _public()) for _ in range(2))
        _insist(all(map(torch.equal, one, two)), "poison_public draws from outside view.rng")
        _insist(one[0].shape == x.shape, "poison_public changed the features' shape")
        _insist(one[1].shape == y.shape, "poison_public changed the number of labels")
        _insist(all(map(torch.equal, before, (x, y))), "poison_public changed its input")
    said = attack.testify(Testimony(0.7, 0.5, 0.6), 0)
    _insist(0 <= said.accuracy <= 1, "testify says an accuracy outside [0, 1]")
    _insist(0 <= said.f1 <= 1, "testify says an F1 outside [0, 1]")
    _insist(0 <= said.loss < float("inf"), "testify says a loss below 0 or without end")


def _public() -> AttackView:
    return AttackView(0, 1, 1, torch.Generator().manual_seed(3))


def check_misbehave(attack: Attack) -> None:
    """`misbehave` names breaches that exist, by the attack's hospitals, and each share once."""
    for _, f in SIZES:
        found = list(attack.misbehave(_view(attack, 10, f)))
        for rank, kind, node in found:
            _insist(0 <= rank < f, f"misbehave names rank {rank} of {f}")
            _insist(kind in KINDS, f"misbehave names {kind}, which is none of {KINDS}")
            _insist(0 <= node < 2, f"misbehave names node {node} of 2")
        places = [(rank, node) for rank, _, node in found]
        _insist(len(set(places)) == len(places), "misbehave names one share twice")


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
            again = attack.trigger(x)  # type: ignore[attr-defined]
            _insist(torch.equal(again, out), "trigger is another when it is put on again")


def check_current_trigger(attack: Attack) -> None:
    """`current_trigger` keeps shape, range and inputs, and puts on the same again."""
    if not trigger_moves(attack):
        return
    for shape in SHAPES:
        dim = Linear(shape).num_parameters
        facts = told(knowledge_of(attack.knowledge), sample_facts(10, 4, dim, shape, _unjudged))
        rng = torch.Generator().manual_seed(6)
        view = awake(attack, replace(_poisoning(attack, shape, 0, 4), facts=facts, rng=rng))
        x, _ = sample_rows(shape)
        before = x.clone()
        out, again = (attack.current_trigger(x, view.memory) for _ in range(2))
        _insist(out.shape == x.shape, "current_trigger changed the shape")
        _insist(torch.equal(x, before), "current_trigger changed its input")
        _insist(out.min() >= 0, "current_trigger left [0, 1]")
        _insist(out.max() <= 1, "current_trigger left [0, 1]")
        _insist(torch.equal(again, out), "current_trigger is another when it is put on again")


CHECKS: tuple[Callable[[Attack], None], ...] = (
    check_craft_shape,
    check_craft_inputs_untouched,
    check_craft_deterministic,
    check_memory_round_trip,
    check_poison_contract,
    check_poison_inputs_untouched,
    check_poison_deterministic,
    check_training_hooks,
    check_encode,
    check_misbehave,
    check_validators,
    check_corrupt,
    check_bad_parameters_refused,
    check_objective,
    check_current_trigger,
)
