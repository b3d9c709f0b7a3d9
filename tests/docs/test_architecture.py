"""docs/architecture.md: its rooms are those that exist, and its picture is made of them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from eval.figures.architecture import PLACES, STEPS, draw

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms() -> set[str]:
    """Folders with code."""
    found = {"configs", "attacks", "ledger/contracts"}
    for package in ("secure_fl", "ledger", "eval"):
        found |= {
            f"{package}/{path.parent.name}" for path in (ROOT / package).glob("*/__init__.py")
        }
    return found


def test_each_room_is_in_the_table_once_and_all_of_them_are() -> None:
    listed = re.findall(r"^\| `([\w/]+)/` \|", PAGE, flags=re.MULTILINE)
    assert sorted(listed) == sorted(rooms())


def test_what_the_page_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+(?:/|\.py))`", PAGE)) - {
        "rules/",
        "sets/",
        "stages/",
        "worlds/",
    }
    assert len(named) > 25
    for name in named - {"attestation.py"}:
        assert (ROOT / name).exists(), name


def test_the_picture_shows_rooms_that_exist_and_the_steps_that_the_page_counts() -> None:
    shown = [room for place in PLACES for room in place.rooms]
    assert len(set(shown)) == len(shown)
    assert {room.replace(".", "/") for room in shown if "." in room} <= rooms()
    for room in set(shown) - {"ledger.contracts"}:
        importlib.import_module(room)
    counted = [int(number) for number in re.findall(r"^(\d)\. \*\*", PAGE, flags=re.MULTILINE)]
    assert counted == [step.number for step in STEPS]


def test_the_picture_is_drawn_alike_each_time() -> None:
    assert draw() == draw()
    assert draw(steps=STEPS[:1]) != draw()
