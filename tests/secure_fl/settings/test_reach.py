"""All that code can be told can be told from the command line and from YAML."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ledger
from secure_fl.backends.shared import MpcBackend
from secure_fl.errors import ConfigError
from secure_fl.hospital.options import TrainOptions
from secure_fl.mpc.planning import Network
from secure_fl.server.guard import GuardOptions
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.parties import backend_options
from secure_fl.simulation.run import RunConfig
from secure_fl.simulation.secret import RunSecret
from secure_fl.simulation.single import run_settings
from tests.support import tiny_job

SCHEDULE = {"start": 2, "until": 3, "every": 2, "probability": 0.5}
# One other value than the default for every setting that there is.
TOLD = {
    "name": "told",
    "description": "one of each",
    "seed": 3,
    "rounds": 4,
    "threads": 2,
    "malicious": [0.25],
    "repeatable_secrets": True,
    "tensorboard": "events",
    "faults": [{"round": 1, "node": 0, "kind": "denial", "hospital": 1}],
    "data.name": "digits",
    "data.path": "/data",
    "data.label": "outcome",
    "data.patient": "id",
    "data.drop": ["death", "cost"],
    "data.side": 28,
    "data.task": "findings",
    "data.hospitals": 8,
    "data.partition": "column",
    "data.alpha": 0.5,
    "data.site": "ward",
    "data.test_fraction": 0.3,
    "data.validation_fraction": 0.2,
    "data.validators": 4,
    "data.balance": False,
    "data.minimum_rows": 5,
    "data.rows": 800,
    "data.root_patients": 50,
    "model.name": "cnn",
    "model.params": {"hidden": 5},
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.lr": 0.5,
    "train.optimizer": "sgd",
    "train.proximal_mu": 0.25,
    "train.device": "cuda",
    "privacy.clip_norm": 2.0,
    "privacy.noise_sigma": 0.1,
    "privacy.bind_malicious": False,
    "participation.sample": 0.5,
    "participation.absences": [{"hospital": 3, "start": 2, "until": 3}],
    "ledger.initial": 0.9,
    "ledger.growth": 0.2,
    "ledger.rejection_keep": 0.6,
    "ledger.repetition_step": 0.2,
    "ledger.abnormal_keep": 0.8,
    "ledger.floor": 0.1,
    "ledger.reinstated": 0.4,
    "ledger.probation_rounds": 6,
    "ledger.accuracy_drop": 0.1,
    "ledger.loss_rise": 0.5,
    "ledger.f1_drop": 0.2,
    "ledger.quorum": 3,
    "ledger.open_blocks": 2,
    "ledger.dispute_blocks": 2,
    "ledger.quorum_blocks": 2,
    "ledger.mode": "merkle",
    "ledger.url": "http://node:8545",
    "ledger.chain_id": 7,
    "ledger.contract": "0x" + "ab" * 20,
    "ledger.keystore": "/keys",
    "ledger.threshold": 3,
    "ledger.patience": 5.0,
    "attack.name": "sign_flip",
    "attack.params": {"strength": 2.0},
    "attack.overstate": True,
    "attack.schedule.start": 2,
    "attack.schedule.until": 3,
    "attack.schedule.every": 2,
    "attack.schedule.probability": 0.5,
    "attack.members": "most_data",
    "attack.target_label": "Hernia",
    "attack.mixture": [
        {"name": "ipm", "share": 0.5, "params": {"epsilon": 1.0}, "schedule": SCHEDULE}
    ],
    "defence.name": "mine",
    "defence.rule": "trimmed_mean",
    "defence.params": {"beta": 0.25},
    "defence.backend": "mpc",
    "defence.nodes": 3,
    "defence.keys": "/tls",
    "defence.preprocessing": "first_party",
    "defence.insecure_preprocessing": True,
    "defence.minimum_hospitals": 4,
    "defence.colluders": 1,
    "defence.timeout": 5.0,
    "defence.network": {"latency_ms": 20.0, "mbit": 100.0, "lanes": 2},
    "defence.transcript": "/transcripts",
    "defence.state": "/memories",
    "defence.ledger": True,
    "defence.reference": True,
    "defence.reputation": True,
    "defence.samples_cap": 3.0,
    "defence.validation": "gate",
    "defence.proximal_mu": 0.5,
    "defence.guard": {
        "screen": "public",
        "bootstraps": 3,
        "damping": 0.5,
        "root_share": 0.5,
        "gate": False,
        "steps": [0.5, 1.0],
        "patience": 2,
        "tuning": "distillation",
        "tune_start": "public",
        "tune_runs": 2,
        "tune_epochs": 2,
        "tune_steps": 9,
        "tune_copies": 2,
        "tune_share": 0.1,
        "tune_labels": 0.5,
    },
    "defence.label": "Mine",
    "defence.paper_method": "FedAvg",
    "defence.description": "my own",
}
# Simulation keys and a keystore exclude each other, as do sites and classes of a hospital, and an
# official split and a share for tests.
APART = {
    "ledger.simulated_keys": True,
    "data.classes_per_hospital": 2,
    "data.split": "official",
}
PLACES = (
    "defence.keys=/elsewhere",
    "defence.timeout=9",
    "defence.network={lanes: 2}",
    "defence.transcript=/elsewhere",
    "defence.state=/elsewhere",
    "data.path=/elsewhere",
    "tensorboard=/elsewhere",
)


def leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full keys of a schema with their defaults; lists of attacks and defences apart."""
    for field in dataclasses.fields(schema):
        made = field.default_factory
        if isinstance(made, type) and dataclasses.is_dataclass(made):
            yield from leaves(made, f"{prefix}{field.name}.")
        elif prefix + field.name not in ("attacks", "defences"):
            default = field.default if made is dataclasses.MISSING else made()
            yield prefix + field.name, default


DEFAULTS = dict(
    [
        *leaves(ExperimentConfig),
        *leaves(AttackConfig, "attack."),
        *leaves(DefenceConfig, "defence."),
    ]
)


def typed(key: str, value: Any) -> str:
    """A setting as a person types it."""
    if value is True or value is False:
        return f"{key}={str(value).lower()}"
    if isinstance(value, dict):
        return f"{key}={{{', '.join(typed(k, v).replace('=', ': ', 1) for k, v in value.items())}}}"
    if isinstance(value, list):
        inner = [typed("x", one).partition("=")[2] for one in value]
        return f"{key}=[{', '.join(inner)}]"
    return f"{key}={value}"


def told() -> ExperimentConfig:
    first = ["attack=sign_flip", "defence=median"]
    rest = [typed(key, value) for key, value in TOLD.items() if key != "attack.name"]
    return load_config([*first, *rest])


def value_of(config: ExperimentConfig, key: str) -> Any:
    start, _, rest = key.partition(".")
    lists = {"attack": config.attacks, "defence": config.defences}
    place: Any = lists[start][0] if start in lists else config
    for part in (rest if start in lists else key).split("."):
        place = getattr(place, part)
    return place


def test_the_list_of_settings_is_whole() -> None:
    assert set(TOLD) | set(APART) == set(DEFAULTS)
    assert all(DEFAULTS[key] != value for key, value in (TOLD | APART).items())
    assert set(TOLD["defence.guard"]) == {f.name for f in dataclasses.fields(GuardOptions)}
    assert set(TOLD["defence.network"]) == {f.name for f in dataclasses.fields(Network)}
    contract = {f.name for f in dataclasses.fields(ledger.Parameters)}
    assert contract <= {f.name for f in dataclasses.fields(LedgerConfig)}


def test_every_setting_is_told_by_a_word_and_by_yaml(tmp_path: Path) -> None:
    config = told()
    for key, value in TOLD.items():
        if key not in ("faults", "attack.mixture", "participation.absences"):
            assert value_of(config, key) == value, key
    assert [dataclasses.asdict(each) for each in config.attacks[0].mixture] == (
        TOLD["attack.mixture"]
    )
    told_away = [dataclasses.asdict(each) for each in config.participation.absences]
    assert told_away == TOLD["participation.absences"]
    (fault,) = config.faults
    assert (fault.round, fault.node, fault.kind, fault.hospital) == (1, 0, "denial", 1)
    assert type(config.train) is TrainOptions
    save_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config
    alone = load_config(["ledger=anvil", "ledger.simulated_keys=true"])
    assert alone.ledger.simulated_keys
    alone = load_config(["data.partition=classes", "data.classes_per_hospital=2"])
    assert alone.data.classes_per_hospital == 2
    assert load_config(["data.split=official"]).data.split == "official"


def test_every_option_of_the_nodes_comes_from_a_setting() -> None:
    config = told()
    options = backend_options(config.defences[0], config, RunSecret(config))
    # Of tests: a slow link's port.
    known = set(inspect.signature(MpcBackend).parameters) - {"route"}
    assert set(options) - {"faults"} == known
    assert options["network"] == Network(20.0, 100.0, 2)
    assert (options["timeout"], options["transcript"]) == (5.0, "/transcripts")
    assert options["state"] == "/memories"


@pytest.mark.parametrize("place", PLACES)
def test_what_changes_no_result_changes_no_hash(place: str) -> None:
    def sha256(*overrides: str) -> str:
        config = load_config(["experiment=quick", "defence=paper", *overrides])
        return RunConfig(config, config.defences[0], config.attacks[0], 0.3).sha256

    assert sha256(place) == sha256()
    assert sha256("defence.nodes=3") != sha256()


def test_hashes_of_before_stay_what_they_were() -> None:
    """Cells of runs that were made before are recognised, and their audit holds."""
    config = load_config(["experiment=quick"])
    attacks = {attack.name: attack for attack in config.attacks}
    defences = {defence.name: defence for defence in config.defences}
    found = [
        RunConfig(config, defences[defence], attacks[attack], 0.3).sha256[:16]
        for defence, attack in (("paper", "label_flip"), ("guarded", "backdoor"))
    ]
    assert found == ["6831ccfc6c92d95e", "b7c81d94f2cbd0e4"]


REFUSED = {
    "defence.network={latency_ms: -1}": r"network: latency_ms must be at least 0; got -1",
    "defence.network={latency_ms: slow}": "network: latency_ms must be of type float, finite",
    "defence.network={lanes: 99}": "network: lanes must be 1 to 8; got 99",
    "defence.network={mbits: 5}": r"key of network must be one of .*\(did you mean mbit\?\)",
    "train.lr=0": "train.lr must be > 0 and finite; got 0.0",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_does_not_fit_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[override]):
        load_config(["defence=paper", override])


def test_nodes_write_down_what_they_receive_and_the_result_stays(tmp_path: Path) -> None:
    place = tmp_path / "transcripts"
    shared = [*tiny_job.SETTINGS, "defence=robust", "defence.backend=mpc", "rounds=1"]
    plain = run_settings([*shared, "attacks=[]"])
    state = tmp_path / "state"
    told = [
        f"defence.transcript={place}",
        f"defence.state={state}",
        "defence.network={latency_ms: 20, mbit: 50, lanes: 2}",
    ]
    written = run_settings([*shared, "attacks=[]", *told])
    assert torch.equal(plain.model, written.model)
    assert plain.rows[0]["settings_sha256"] == written.rows[0]["settings_sha256"]
    # The nodes heard of the network: two lanes work on blocks of their own.
    assert written.rows[1]["mpc"]["rounds"] > plain.rows[1]["mpc"]["rounds"]
    (folder,) = place.iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"node-0-from-node-1.bin", "node-1-from-control.bin", "node-0.key"} <= names
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "node-0-from-node-1.bin").stat().st_size > 0
    # The nodes remember each share that they took: a hospital's, at each node, in a round.
    remembered = [path.read_text().count("share ") for path in sorted(state.iterdir())]
    assert remembered == [written.rows[1]["accepted"].count(True)] * 2
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=f"defence.transcript {blocked}: {os.strerror(17)}"):
        run_settings([*shared, "attacks=[]", f"defence.transcript={blocked}"])
    with pytest.raises(ConfigError, match=f"defence.state {blocked}: {os.strerror(17)}"):
        run_settings([*shared, "attacks=[]", f"defence.state={blocked}"])
