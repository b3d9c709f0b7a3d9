"""docs/ledger.md: its example runs, and its tables are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ledger.protocol import contract
from ledger.protocol.parameters import Parameters
from ledger.protocol.typed_data import _TYPES
from secure_fl.settings.ledger import LedgerConfig

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    first = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    (said,) = re.findall(r"print\(.*\)  # (.*)\n", first)
    exec(compile(first, "docs/ledger.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.strip() == said


def test_every_message_that_is_signed_is_in_the_table() -> None:
    table = PAGE[PAGE.index("## What is signed") : PAGE.index("## Reputation")]
    named = set(re.findall(r"`([A-Z]\w+)`", table))
    assert named == set(_TYPES) - {"EIP712Domain"}
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", table, re.M))
    assert rows["Commitment"] == "round, model, sharesRoot"


def test_every_step_named_is_a_function_of_the_contract() -> None:
    steps = set(re.findall(r"`([a-z]+_[a-z_]+)`", PAGE[PAGE.index("## A round") :]))
    known = set(contract.functions()) | {field.name for field in fields(Parameters)}
    assert steps - known == {"key_from_environment", "eth_call", "evm_mine"}


def test_the_settings_of_a_node_are_those_of_a_run() -> None:
    rows = re.findall(r"^\| `ledger\.(\w+)` \|", PAGE, re.M)
    settings = [field.name for field in fields(LedgerConfig)]
    assert sorted(rows) == sorted(settings[settings.index("mode") + 1 :])


def test_the_defaults_stated_are_the_defaults() -> None:
    text = re.sub(r"\s+", " ", PAGE)
    stated = text[text.index("Defaults: ") : text.index("The parameters live on the chain")]
    found = dict(re.findall(r"(\w+) ([\d.]+)[,.]", stated.removeprefix("Defaults: ")))
    defaults = Parameters()
    assert found
    assert all(float(v) == getattr(defaults, name) for name, v in found.items())
    assert set(found) == {
        "initial",
        "growth",
        "rejection_keep",
        "repetition_step",
        "abnormal_keep",
        "floor",
        "reinstated",
        "probation_rounds",
    }


def test_the_files_named_exist() -> None:
    root = Path(__file__).parents[2]
    for name in re.findall(r"`((?:ledger|tests|eval)/[\w/.]+\.(?:py|vy))`", PAGE):
        assert (root / name).is_file(), name
