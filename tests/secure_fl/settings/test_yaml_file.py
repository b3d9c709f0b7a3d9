"""Settings from anybody: plain data of bounded size, or a refusal that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import ConfigError, InputError
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.settings.yaml_file import read_mapping


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (":".join(["1"] * 20_000), "is no number"),
        (":".join(["1"] * 300) + ":1.5", "is no number"),
        ('!!int "1:30"', "is no number"),
        ('!!float "1:30.5"', "is no number"),
        ("0x" + "F" * 20_000, "64 bits"),
        (str(2**64), "64 bits"),
        ("0001-01-01 00:00:00 +23:59", "cannot read"),
    ],
)
def test_numbers_that_are_none_are_refused(value: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: {value}\n")
    with pytest.raises(InputError, match=fault) as refused:
        read_mapping(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 400


def test_numbers_and_words_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"a: {2**64 - 1}\nb: -0x10\nc: 1.5e-3\nd: '1:30'\ne: .inf\nf: 1_000\n")
    want = {"a": 2**64 - 1, "b": -16, "c": 0.0015, "d": "1:30", "e": float("inf"), "f": 1000}
    assert read_mapping(path) == want


def test_a_job_of_too_many_cells_is_refused() -> None:
    defences = [DefenceConfig(name=f"d{i}") for i in range(1000)]
    attacks = [AttackConfig(name="sign_flip")]
    shares = [i / 20 for i in range(1, 10)]
    assert ExperimentConfig(defences=defences, attacks=attacks, malicious=shares)
    with pytest.raises(ConfigError, match="at most 10000 cells; got 11000"):
        ExperimentConfig(defences=defences, attacks=attacks, malicious=[*shares, 0.5])
