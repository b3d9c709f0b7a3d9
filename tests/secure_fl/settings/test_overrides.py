"""Settings as they are typed: texts stand for themselves, everything else is Hydra's grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import ConfigError
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.overrides import Setting, parse_settings, text_keys


@pytest.mark.parametrize(
    "text",
    [
        *("/d/josé/x", "/d/mimic (1)", "/d/a=b", "/d/a,b", "/d/[a]", "/d/{a: b}", "007", "1e3"),
        *(
            "/d/it's",
            "/d/a  b",
            "C:\\data\\x",
            "true",
            "/d/日本",
            "/d/a:b",
            "/d/$x",
            "/d/a#b",
            "*?",
        ),
    ],
)
def test_a_path_is_taken_as_it_stands(text: str, tmp_path: Path) -> None:
    assert parse_settings([f"data.path={text}"]) == [Setting("data.path", text)]
    config = load_config([f"data.path={text}", f"defence.keys={text}", "defence=fedavg"])
    assert (config.data.path, config.defences[0].keys) == (text, text)
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("key", ["data.path", "defence.keys", "ledger.keystore"])
def test_the_home_folder_is_spelt_out(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/d/ann")
    (setting,) = parse_settings([f"{key}=~/mimic"])
    assert setting == Setting(key, "/d/ann/mimic")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("data.path=null", None),
        ("data.path='/d/x y'", "/d/x y"),
        ('data.path="/d/x, y"', "/d/x, y"),
        ("data.path=", ""),
        ("rounds=3", 3),
        ("malicious=[0.1,0.2]", [0.1, 0.2]),
        ("privacy.clip_norm=null", None),
    ],
)
def test_quotes_numbers_lists_and_null_are_hydras(line: str, value: object) -> None:
    assert parse_settings([line]) == [Setting(line.partition("=")[0], value)]


def test_texts_are_those_of_the_schema() -> None:
    assert {
        "data.path",
        "ledger.url",
        "defence.label",
        "description",
        "train.optimizer",
    } <= text_keys()
    assert not {"rounds", "defence.rule", "malicious", "attacks", "data", "seed"} & text_keys()


def test_a_text_looks_nothing_up() -> None:
    with pytest.raises(ConfigError, match=r"data\.path must be a plain value"):
        load_config(["data.path=a (${oc.env:HOME})"])
