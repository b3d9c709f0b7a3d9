"""Rules in a CrypTen program: the bits of `fixed`, by any number of parties."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.aggregation import rule_names
from tests.docs.test_examples import blocks
from tests.secure_fl.mpc.test_functions import launch, program


@pytest.mark.parametrize("parties", [2, 3])
def test_rules_give_the_bits_of_fixed(tmp_path: Path, parties: int) -> None:
    for found in program(tmp_path, "rules", "tcp", parties=parties):
        assert found["different"] == []
        assert found["tried"] >= len(rule_names()) // 4
        assert len(found["refused"]) == 5
        assert all(said.startswith(rule) for rule, said in found["refused"].items())


@pytest.mark.parametrize("parties", [2, 3])
def test_the_documented_program_runs(tmp_path: Path, parties: int) -> None:
    """Of `docs/crypten.md`: every party prints what the page says."""
    found = blocks("docs/crypten.md")
    (python,) = [block for block in found if block.language == "python"]
    (printed,) = [block for block in found if block.language == "text"]
    path = tmp_path / "aggregate.py"
    path.write_text(python.text, encoding="utf-8")
    outputs = launch(tmp_path, [[str(path)]] * parties, parties)
    assert outputs == [printed.text] * parties
