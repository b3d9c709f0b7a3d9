"""Settings as they are typed: texts stand for themselves, everything else is Hydra's grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_fl.errors import ConfigError, InputError
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


FILED = """
data: {name: digits, rows: 600, path: null, hospitals: 6}
model: {name: mlp, params: {hidden: [8]}}
train: {epochs: 1}
rounds: 2
attack: {name: sign_flip, params: {strength: 2.5}}
defences:
  - fedavg
  - {name: guarded, called: mild, params: {ratio: 0.5}, guard: {tune_epochs: 0}}
"""


def test_a_file_of_settings_is_what_the_same_words_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FILED, encoding="utf-8")
    words = [
        *("data=digits", "data.rows=600", "data.hospitals=6", "model=mlp"),
        *("model.params.hidden=[8]", "train.epochs=1", "rounds=2"),
        *("attack=sign_flip", "attack.params.strength=2.5"),
        "defences=[fedavg, {name: guarded, called: mild, params: {ratio: 0.5}, "
        "guard: {tune_epochs: 0}}]",
    ]
    assert load_config([str(file)]) == load_config(words)
    later = load_config([str(file), "rounds=7", "attack.params.strength=1.5"])
    assert (later.rounds, later.data.rows) == (7, 600)
    assert later.attacks[0].params == {"strength": 1.5}
    assert load_config(["rounds=7", str(file)]).rounds == 2


def test_the_settings_of_a_run_are_such_a_file(tmp_path: Path) -> None:
    rule = "{max_abs: 2.0, stages: [clip_norm, {trimmed_mean: {beta: 0.2}}]}"
    listed = f"defences=[robust, {{name: paper, called: own, rule: {rule}, params: {{}}}}]"
    words = ["data=lidc_nodules", "model=cnn", "malicious=[0.1, 0.3]", listed, "attack=alie"]
    config = load_config(words)
    save_config(config, tmp_path / "config.yaml")
    assert load_config([str(tmp_path / "config.yaml")]) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attack: os:system", "names 'os:system' in attack, code of your own"),
        ("attack: {name: 'os:system'}", "names 'os:system' in attack, code"),
        ("attacks: [none, {name: 'os.path:join'}]", "names 'os.path:join' in attacks"),
        ("defence: {name: paper, rule: {stages: ['a:b']}}", "names 'a:b' in defence.rule"),
        ("defences: [{name: x, rule: {stages: [{'a:b': {}}]}}]", "names 'a:b' in defences"),
        ("data: 'os:getcwd'", "names 'os:getcwd' in data, "),
        ("model: {name: 'os:getcwd', params: {}}", "names 'os:getcwd' in model, "),
        ("rouns: 3", "unknown key rouns"),
        ("data: {name: digits, rowz: 3}", "unknown key data.rowz"),
        ("data: {path: '${oc.env:HOME}'}", r"\$\{"),
    ],
)
def test_a_file_permits_no_code_and_knows_no_other_keys(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.yml"
    file.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_config([str(file)])


def test_what_is_no_file_of_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.yaml"):
        load_config([str(tmp_path / "absent.yaml")])
    (tmp_path / "list.yaml").write_text("[1, 2]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"list\.yaml must hold settings"):
        load_config([str(tmp_path / "list.yaml")])
