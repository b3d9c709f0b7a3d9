"""An attack of somebody's own that makes a mistake is named with its hook and the line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import secure_fl
from attacks import Attack, AttackView, attack, load
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
