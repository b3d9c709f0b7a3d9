"""An attack of somebody's own that makes a mistake is named with its hook and the line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import secure_fl
from attacks import Attack, AttackView, attack, load
from attacks.registry import BrokenContract
from secure_fl.errors import ConfigError
from secure_fl.simulation.hooks import HookFailed, hook
from secure_fl.threads import torch_threads
from tests.support import tiny_federation


@attack
@dataclass(frozen=True)
class Mistaken(Attack):
    """Makes a mistake in one round."""

    objective = "untargeted"
    at: int = 1

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        if view.round == self.at:
            return _mistake(own)
        return own


def _mistake(own: torch.Tensor) -> torch.Tensor:
    return own.transpose(2, 3)  # the line: it has no such dimensions


def line() -> int:
    text = Path(__file__).read_text()
    return text[: text.index("# the line: it")].count("\n") + 1


@pytest.mark.parametrize(
    ("at", "place"),
    [(0, ", among 4 hospitals, 1 of them malicious"), (1, "")],
    ids=["rehearsal", "run"],
)
def test_hook_and_line_are_named(at: int, place: str) -> None:
    with pytest.raises(HookFailed) as caught:
        secure_fl.run(
            tiny_federation.made(),
            attack=Mistaken(at),
            defence="mean",
            malicious=0.25,
            rounds=2,
            train={"epochs": 1},
        )
    start = f"attack Mistaken(at={at}){place}, in craft (test_hooks.py, line {line()}): IndexError"
    assert re.match(re.escape(start), str(caught.value))
    assert isinstance(caught.value.__cause__, IndexError)


def test_refusals_and_errors_of_what_ships_pass_as_they_are() -> None:
    for given, raised in ((Mistaken(), ConfigError("x")), (load("sign_flip"), ValueError("y"))):
        with pytest.raises(type(raised)) as caught, hook(given, "craft"):
            raise raised
        assert caught.value is raised


@attack
@dataclass(frozen=True)
class Counting(Attack):
    """Notes how many threads torch has where it acts."""

    objective = "untargeted"

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        THREADS.append(torch.get_num_threads())
        return own


THREADS: list[int] = []


def test_rehearsal_and_run_have_the_threads_of_the_settings() -> None:
    THREADS.clear()
    with torch_threads(3):
        secure_fl.run(
            tiny_federation.made(),
            attack=Counting(),
            defence="mean",
            malicious=0.25,
            rounds=1,
            train={"epochs": 1},
            threads=2,
        )
        assert torch.get_num_threads() == 3
    assert len(THREADS) >= 2  # at the rehearsal, and in the round
    assert set(THREADS) == {2}


@attack
@dataclass(frozen=True)
class Wrong(Attack):
    """Returns something else than it must, in one hook."""

    objective = "backdoor"
    target_class: int = 1
    what: str = "craft"

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> Any:
        return {"craft": None, "array": own.numpy()}.get(self.what, own)

    def poison(self, x: torch.Tensor, y: torch.Tensor, view: AttackView) -> Any:
        shapes = {"labels": (x, y + 7), "rows": (x[:2], y), "features": (x[:, :-1], y)}
        return shapes.get(self.what, (x, None) if self.what == "nothing" else (x, y))

    def trigger(self, x: torch.Tensor) -> Any:
        return None if self.what == "trigger" else x


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("craft", r"must return updates as a tensor of shape \(1, \d+\); got NoneType"),
        ("array", r"must return updates as a tensor of shape \(1, \d+\); got ndarray"),
        ("labels", r"must return labels from 0 to \d; got \d+"),
        ("rows", "must return rows and labels: y must be one label per row of x"),
        ("features", "must keep the shape of rows; it returned"),
        ("nothing", "must return rows and labels: 'NoneType' object has no attribute"),
        ("trigger", "must return rows with the trigger as a tensor of shape .*; got NoneType"),
    ],
)
def test_what_a_hook_must_not_return_is_refused_before_round_1(what: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"attack Wrong\(.*'{what}'\) {said}"):
        secure_fl.run(
            tiny_federation.made(),
            attack=Wrong(what=what),
            defence="mean",
            malicious=0.25,
            rounds=1,
        )


def test_an_attack_without_a_hook_is_refused_when_it_is_defined() -> None:
    with pytest.raises(BrokenContract, match="Idle must have a hook of its own, one of init, "):

        @attack
        @dataclass(frozen=True)
        class Idle(Attack):
            """Its hook is misspelt."""

            objective = "untargeted"

            def crfat(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> None:
                """Is never called."""
