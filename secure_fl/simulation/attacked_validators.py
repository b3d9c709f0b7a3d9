"""Validators that belong to an attack: what they put among public rows, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from attacks import Attack, AttackView
from attacks.base import Testimony, overrides
from ledger.protocol.roles import ValidatorKey
from secure_fl import seeds
from secure_fl.data import Split
from secure_fl.data.dataset import FederatedData
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.server.validation import Validator, Verdict
from secure_fl.simulation.attackers import Attackers
from secure_fl.simulation.hooks import hook
from secure_fl.simulation.labels import classes_of, label_of, put_back, seen


class Liar(NamedTuple):
    """For whom a validator lies, and when.

    Attributes:
        attack: what it says.
        lies: whether it does in a round.
    """

    attack: Attack
    lies: Callable[[int], bool]


class LyingValidator(Validator):
    """A validator that signs what an attack has it say, in the rounds in which that acts.

    Args:
        rows, key: as of a `Validator`.
        liar: for whom it lies, and when.
        seat: among all validators.
    """

    def __init__(self, rows: Split, key: ValidatorKey | None, liar: Liar, seat: int) -> None:
        super().__init__(rows, key)
        self._liar, self._seat = liar, seat

    def judge(self, federation: Federation, model: torch.Tensor, number: int = 0) -> Verdict:
        """What it says of a model (d,), having tested it; of the initial one as in round 1."""
        measured = super().judge(federation, model, number)
        if not self._liar.lies(max(number, 1)):
            return measured
        with hook(self._liar.attack, "testify"):
            return Verdict(*self._liar.attack.testify(Testimony(*measured), self._seat))


def liars(attackers: Attackers, validators: int) -> list[Liar | None]:
    """Who lies, by validators' seats; the first part's are the first ones."""
    found: list[Liar | None] = []
    for index, part in enumerate(attackers.parts if attackers.count else ()):
        if overrides(part.attack, "testify"):
            liar = Liar(part.attack, partial(attackers.acts, index))
            found += [liar] * part.attack.dishonest(validators)
    return [*found, *[None] * validators][:validators]


def with_public_rows(federation: Federation, attackers: Attackers) -> Federation:
    """The federation as its server sees it: public rows as an attack's validators gave them.

    Validators are taken to have given equal parts of both halves, root and holdout.

    Raises:
        InputError: the attack returned rows that do not fit.
    """
    data = federation.data
    label = label_of(attackers.label, data)
    for index, part in enumerate(attackers.parts if attackers.count else ()):
        attack = part.attack
        if not overrides(attack, "poison_public"):
            continue
        share = attack.dishonest(len(data.validators)) / len(data.validators)
        root, holdout = (
            _poisoned(attack, split, share, attackers.seed, (index, half), label, data)
            for half, split in enumerate((data.root, data.holdout))
        )
        data = replace(data, root=root, holdout=holdout)
    return federation if data is federation.data else replace(federation, data=data)


def _poisoned(
    attack: Attack,
    split: Split,
    share: float,
    seed: int,
    place: Sequence[int],
    label: int | None,
    data: FederatedData,
) -> Split:
    count = round(share * len(split))
    if not count:
        return split
    rng = seeds.torch_generator(seed, "public", *place)
    rows = torch.randperm(len(split), generator=rng)[:count]
    view = AttackView(
        round=0,
        num_hospitals=1,
        num_malicious=1,
        rng=rng,
        classes=classes_of(data, label),
        attack=type(attack).__name__,
    )
    before = Split(split.x[rows], split.y[rows])
    own = seen(before, label)
    with hook(attack, "poison_public"):
        given = Split(*attack.poison_public(own.x, own.y, view))
    if given.x.shape != own.x.shape or given.y.shape != own.y.shape:
        raise InputError(
            f"attack {attack} must return public rows of shape {tuple(own.x.shape)} with a "
            f"label each; got {tuple(given.x.shape)} and {tuple(given.y.shape)}"
        )
    x, y = split.x.clone(), split.y.clone()
    x[rows], y[rows] = given.x, put_back(given, before, label).y
    return Split(x, y)
