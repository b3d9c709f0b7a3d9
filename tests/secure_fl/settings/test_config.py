"""Settings: whatever does not fit is refused by name before anything runs."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import attacks
from eval.jobs.plan import plan
from secure_fl.aggregation import rule_names
from secure_fl.errors import ConfigError
from secure_fl.settings.config import (
    attack_params,
    choices,
    config_root,
    load_config,
    load_defence,
    presets,
    read_config,
    save_config,
)
from secure_fl.settings.schema import ExperimentConfig, malicious_count, malicious_fractions

SMALL = [
    "attacks=[backdoor, {name: sign_flip, params: {strength: 2.0}}]",
    "defences=[fedavg, paper]",
]


def test_defaults_are_the_papers() -> None:
    config = load_config()
    assert (config.data.hospitals, config.data.alpha, config.data.validators) == (20, 0.3, 5)
    assert (config.data.validation_fraction, config.privacy.clip_norm) == (0.1, 1.0)
    train = config.train
    assert (train.epochs, train.batch_size, train.lr, train.optimizer) == (5, 32, 0.001, "adam")
    assert [a.name for a in config.attacks] == [
        "label_flip",
        "sign_flip",
        "backdoor",
        "model_replacement",
        "byzantine_gradient",
        "random_noise",
    ]
    assert [d.paper_method for d in config.defences if d.paper_method] == [
        "FedAvg",
        "+ Secure Aggregation",
        "+ Robust Aggregation",
        "Proposed Framework",
    ]


@pytest.mark.parametrize("name", presets("experiment"))
def test_every_experiment_composes_and_plans(name: str) -> None:
    config = load_config([f"experiment={name}"])
    assert config.name == name
    assert config.description
    cells = plan(config)
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names)
    for number, cell in enumerate(cells):  # the clean run of a defence comes before its others
        assert cell.clean in names[: number + 1]
    fractions = [f for f in malicious_fractions(config.malicious) if f]
    given = {d.name for d in config.defences}
    alone = len(given & {"root_only", "public_only"})  # attacked by nobody
    attacked = (len(config.defences) - alone) * len(config.attacks) * len(fractions)
    gated = any(d.validation == "gate" for d in config.defences)
    added = gated and "root_only" not in given
    assert len(cells) == len(config.defences) + attacked + added


def test_public_rows_alone_are_tuned_as_distilled() -> None:
    """Else the baseline would tell of another tuning than the method's."""
    alone, method = (load_defence(name).guard for name in ("public_only", "distilled"))
    tuning = {key: value for key, value in method.items() if key.startswith("tun")}
    assert tuning["tuning"] == "distillation"
    assert {key: value for key, value in alone.items() if key.startswith("tun")} == tuning


def test_experiments_hold_the_papers_parameters() -> None:
    """Table 1 and sections 3.5 and 4 of the paper."""
    table1, table2 = load_config(["experiment=table1"]), load_config(["experiment=table2"])
    assert table1.rounds == 200
    assert malicious_fractions(table1.malicious) == [0.1, 0.2, 0.3, 0.4]
    assert (table1.data.hospitals, table1.train.epochs, table1.train.lr) == (20, 5, 0.001)
    assert (table1.privacy.clip_norm, table1.data.validation_fraction) == (1.0, 0.1)
    assert [a.name for a in table2.attacks] == ["label_flip", "sign_flip", "backdoor"]
    assert table2.rounds == 200
    for name in ("table2", "table3", "fig4", "fig4b"):
        methods = {d.paper_method for d in load_config([f"experiment={name}"]).defences}
        assert methods >= {
            "FedAvg",
            "+ Secure Aggregation",
            "+ Robust Aggregation",
            "Proposed Framework",
        }
    assert load_config(["experiment=fig3a"]).attacks == []
    assert [a.name for a in load_config(["experiment=fig5"]).attacks] == ["backdoor"]
    assert malicious_fractions(load_config(["experiment=fig4"]).malicious)[0] == 0.1


@pytest.mark.parametrize("name", presets("defence"))
def test_every_defence_builds_and_describes_itself(name: str) -> None:
    defence = load_defence(name)
    assert defence.name == name
    assert defence.description
    assert defence.label


@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_by_name_has_its_own_defaults(name: str) -> None:
    (attack,) = load_config([f"attack={name}"]).attacks
    assert attack.build() == attacks.load(name)
    assert attack.params == attack_params(name)
    assert attack.params.get("source_class", 0) is not None


@pytest.mark.parametrize("name", rule_names())
def test_every_rule_is_a_defence_by_itself(name: str) -> None:
    (defence,) = load_config([f"defence={name}"]).defences
    assert defence.name == name
    expected = load_defence(name).backend if name in presets("defence") else "plain"
    assert defence.backend == expected


@pytest.mark.parametrize("group", ["data", "model", "ledger"])
def test_every_choice_of_a_group_composes(group: str) -> None:
    for name in choices(group):
        config = load_config([f"{group}={name}"])
        if group != "ledger":
            assert getattr(config, group).name == name


def test_a_defence_of_a_list_is_called_otherwise_and_stands_beside_itself() -> None:
    listed = "[guarded, {name: guarded, called: ungated, backend: plain, guard: {gate: false}}]"
    whole, ungated = load_config([f"defences={listed}"]).defences
    assert (ungated.name, ungated.label, ungated.rule) == ("ungated", "", whole.rule)
    assert (whole.guard, ungated.guard) == ({}, {"gate": False})
    (labelled,) = load_config(["defences=[{name: guarded, called: x, label: X}]"]).defences
    assert labelled.label == "X"
    with pytest.raises(ConfigError, match=r"defence.name must be"):
        load_config(["defences=[{name: guarded, called: a/b}]"])


def test_another_rule_drops_the_parameters_of_the_presets_own() -> None:
    mean, narrow = (
        "{name: distilled, called: a, rule: mean}",
        "{name: distilled, params: {ratio: 0.1}}",
    )
    for overrides, rules in (
        (
            [f"defences=[{mean}, {narrow}]"],
            [("mean", {}), ("guarded", {"ratio": 0.1, "spared": -0.15})],
        ),
        (["defence=distilled", "defence.rule=median"], [("median", {})]),
        (
            ["defence=distilled", "defence.params.beta=0.2", "defence.rule=trimmed_mean"],
            [("trimmed_mean", {"beta": 0.2})],
        ),
        (
            ["defence=distilled", "defence.rule=guarded"],
            [("guarded", {"spared": -0.15})],
        ),
    ):
        found = [(each.rule, each.params) for each in load_config(overrides).defences]
        assert found == rules


def test_later_overrides_win_and_reach_lists() -> None:
    config = load_config(
        ["experiment=table2", "rounds=3", "rounds=4", "defence=paper", "defence.backend=fixed"]
    )
    assert config.rounds == 4
    assert [d.backend for d in config.defences] == ["fixed"]
    config = load_config(["defence.backend=plain", "attacks=[ipm]", "attack.params.epsilon=0.5"])
    assert {d.backend for d in config.defences} == {"plain"}
    assert config.attacks[0].params == {"epsilon": 0.5}
    config = load_config(SMALL)
    assert config.attacks[1].params == {"strength": 2.0}


REFUSED = {
    "rouds=3": r"unknown key rouds \(did you mean rounds\?\); allowed here: name, .*defences",
    "data.hospitls=3": r"unknown key data.hospitls \(did you mean data.hospitals\?\)",
    "train.momentum=0.9": "unknown key train.momentum; allowed here: epochs, batch_size, lr",
    "rounds=abc": "rounds must be of type int",
    "rounds=1.5": "rounds must be of type int",
    "rounds=0": "rounds must be from 1 to 10000; got 0",
    "seed=-1": r"seed must be from 0 to 2\*\*63 - 1; got -1",
    "threads=0": "threads must be from 1 to 64; got 0",
    "name=../x": "name must be letters",
    "data=nope": r"data must be one of chestxray14, digits, .*, support2, .*; got 'nope'",
    "data.name=nope": r"data.name must be one of .*support2.*; got 'nope'",
    "data.hospitals=0": "data.hospitals must be from 1 to 500; got 0",
    "data.alpha=0": "data.alpha must be > 0 and finite; got 0.0",
    "data.alpha=inf": "data.alpha must be > 0 and finite; got inf",
    "data.test_fraction=0.95": r"data.test_fraction \+ data.validation_fraction must be below 1",
    "data.validators=0": "data.validators must be from 1 to 32",
    "data.rows=0": "data.rows must be null or at least 1",
    "model=nope": "model must be one of cnn, mlp; got 'nope'",
    "train.lr=nan": "train.lr must be > 0 and finite; got nan",
    "train.epochs=0": "train.epochs must be at least 1",
    "train.optimizer=lion": "train.optimizer must be one of adam, sgd; got 'lion'",
    "train.proximal_mu=-1": "train.proximal_mu must be >= 0",
    "privacy.clip_norm=0": "privacy.clip_norm must be null or > 0",
    "privacy.noise_sigma=-1": "privacy.noise_sigma must be >= 0",
    "ledger.quorum=9": "ledger.quorum must be at most data.validators, 5; got 9",
    "ledger.growth=2": r"ledger.growth must be in \[0, 1\]; got 2.0",
    "malicious=0.51": "malicious must be a share of the hospitals from 0 to 0.5, .*; got 0.51",
    "malicious=-0.1": "malicious must be a share of the hospitals from 0 to 0.5, .*; got -0.1",
    "malicious=many": "malicious must be a share of the hospitals from 0 to 0.5, .*; got 'many'",
    "malicious=true": "malicious must be a share of the hospitals from 0 to 0.5, .*; got True",
    "malicious=0.01": "malicious must be 0 or at least one whole hospital of 20; got 0.01",
    "malicious=[]": "malicious must be a fraction or a list of fractions",
    "attack=nope": r"attack must be one of .*alie, .*sign_flip, .*or .module:Class.; got 'nope'",
    "attack=no_module:X": "'no_module:X': cannot import 'no_module'",
    "attack=attacks.base:require": "'require' of attacks.base .* is not marked",
    "attack=a:b:c": 'must be "module:name"; got .a:b:c.',
    "data.path=${oc.env:HOME}/x": "data.path must be a plain value; got '.{oc.env:HOME}/x'",
    "model.params={hidden: ['${seed}']}": r"model.params.hidden\[0\] must be a plain value",
    "attacks=[sign_flip,sign_flip]": "attacks must be a list without repeated names",
    "attacks=sign_flip": "attacks must be of type list",
    "attacks=[{params: {}}]": "attack must be a name or a mapping with a name",
    "attacks=[{name: ipm, params: {epsilon: -1}}]": "attack 'ipm': epsilon must be > 0; got -1",
    "attacks=[{name: ipm, strength: 2}]": "unknown key attack.strength",
    "defence=nope": "defence must be one of algorithm2, .*weighted_mean.*; got 'nope'",
    "defences=[]": "defences must be a list of at least one defence",
    "defence.backend=gpu": "backend must be one of plain, fixed, mpc; got 'gpu'",
    "defence.nodes=9": "nodes must be from 2 to 4; got 9",
    "+rounds=3": "write key=value",
    "~rounds": "write key=value",
    "rounds=1,2": "give one value, or a list",
    "rounds": "is not of the form key=value",
    "rounds=[1": "is not of the form key=value",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_does_not_fit_is_refused_by_name(override: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[override]) as error:
        load_config([override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["defence=paper", "defence.ledger=false"], "reputation must be false without a ledger"),
        (
            ["defence=paper", "defence.ledger=false", "defence.reputation=false"],
            "validation must be none or gate without a ledger",
        ),
        (["defence=paper", "defence.guard.patience=1"], "guard must be empty unless validation"),
        (
            ["defence=guarded", "defence.guard.pace=1"],
            "key of guard must be one of screen, .*",
        ),
        (
            ["defence=guarded", "defence.guard.steps=5"],
            "guard: steps must be of type list of float, finite; got 5",
        ),
        (["defence=guarded", "defence.guard.damping=2"], r"damping must be in \[0, 1\]; got 2"),
        (["defence=robust", "defence.params.beta=1"], "rule median has no parameter 'beta'"),
        (["defence=robust", "defence.rule=[1]"], "rule must be a name, module:function, or a"),
        (["attack=none", "attack.params.x=1"], "it has no parameters"),
        (
            ["attacks=[]", "attack.params.x=1"],
            "attack.params.x needs attack=NAME: none is selected",
        ),
        (["privacy.clip_norm=null", "privacy.noise_sigma=1"], "0 without privacy.clip_norm"),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overrides)


def _leaves(cls: type, prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for field in dataclasses.fields(cls):
        kind = field.default_factory if dataclasses.is_dataclass(field.default_factory) else None
        if kind is not None:
            found += _leaves(kind, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            found.append((prefix + field.name, field.type))
    return found


LEAVES = [(key, str(kind)) for key, kind in _leaves(ExperimentConfig)]


@settings(max_examples=30, deadline=None)
@given(leaf=st.sampled_from(LEAVES), typo=st.sampled_from("abcxyz_"), value=st.integers(-9, 9))
def test_any_misspelt_key_is_refused_and_named(
    leaf: tuple[str, str], typo: str, value: int
) -> None:
    key = leaf[0] + typo
    with pytest.raises(ConfigError, match=f"unknown key {key}.*allowed here"):
        load_config([f"{key}={value}"])


@settings(max_examples=30, deadline=None)
@given(leaf=st.sampled_from([x for x in LEAVES if x[1] in ("int", "float", "bool")]))
def test_any_number_given_as_a_word_is_refused_and_named(leaf: tuple[str, str]) -> None:
    key, kind = leaf
    with pytest.raises(ConfigError, match=f"{key} must be of type {kind}"):
        load_config([f"{key}=word"])


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_is_read_or_refused_never_a_crash(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(load_config([text]), ExperimentConfig)


@given(fraction=st.floats(0, 0.5), hospitals=st.integers(1, 500))
def test_the_count_is_never_above_the_share(fraction: float, hospitals: int) -> None:
    count = malicious_count(fraction, hospitals)
    assert count <= fraction * hospitals + 1e-6
    assert count > fraction * hospitals - 1
    assert 2 * count <= hospitals


def test_the_count_of_decimal_shares_is_exact() -> None:
    for hospitals in range(1, 501):
        for tenths in range(6):
            assert malicious_count(tenths / 10, hospitals) == tenths * hospitals // 10


def test_saved_settings_are_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for overrides in (
        SMALL,
        ["experiment=fig4", "data=lidc_nodules", "model=cnn", "seed=9007199254740993"],
        ["defence=guarded", "defence.guard.steps=[0.1, 1]", "train.lr=1e-7", "malicious=[0.2]"],
        ["defences=[{name: median, rule: {stages: [{coordinate_median: {}}], max_abs: 1.0}}]"],
    ):
        config = load_config(overrides)
        save_config(config, path)
        assert read_config(path) == config


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_settings_are_refused_never_a_crash(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    save_config(load_config(SMALL), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[start] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[start : start + data.draw(st.integers(1, 40))]
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(read_config(path), ExperimentConfig)


@pytest.mark.parametrize("content", ["", "[1, 2]", "3", "attacks: [3]", "defences: [{rule: mean"])
def test_settings_of_another_shape_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError):
        read_config(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "none.yaml")


def test_no_shipped_file_holds_an_unknown_key() -> None:
    """Each YAML file states only what the schema knows; a misspelt key would be ignored nowhere."""
    for path in sorted(config_root().rglob("*.yaml")):
        assert OmegaConf.load(path), path
