"""Settings of the ledger's node: what is refused, and that no secret is repeated."""

from pathlib import Path

import pytest

from secure_fl.errors import ConfigError
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.simulation.consortium import address
from secure_fl.simulation.run import RunConfig

NODE = "http://127.0.0.1:8545"
KEPT = {"chain_id": 5, "keystore": "keys"}


def test_the_preset_is_a_development_node_on_this_machine() -> None:
    config = load_config(["ledger=anvil"]).ledger
    assert (config.url, config.chain_id, config.simulated_keys) == (NODE, 31337, True)
    # Its rule is that of the chain in process.
    assert config.build() == load_config([]).ledger.build()


@pytest.mark.parametrize(
    "url",
    [
        "http://someone:sesame@127.0.0.1:8545",
        "http://sesame@127.0.0.1:8545",
        "https://node.example/v3/sesame",
        "https://node.example?key=sesame",
        "https://node.example/#sesame",
        "https://node.example\\@sesame",
        "node.example:sesame",
        "ftp://sesame",
        "http://",
        "",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url must be http://HOST:PORT") as caught:
        LedgerConfig(url=url, **KEPT)  # type: ignore[arg-type]
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "url", [NODE, "https://node.example", "https://node.example/", "http://[::1]:8545", "env:NODE"]
)
def test_a_plain_address_or_a_variable_is_taken(url: str) -> None:
    assert LedgerConfig(url=url, **KEPT).url == url  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"chain_id": 5}, "ledger.chain_id must be null without ledger.url; got 5"),
        ({"keystore": "keys"}, "ledger.keystore must be null without ledger.url"),
        ({"contract": "0x" + "1" * 40}, "ledger.contract must be null without ledger.url"),
        ({"simulated_keys": True}, "ledger.simulated_keys must be false without ledger.url"),
        ({"url": NODE, "keystore": "keys"}, "ledger.chain_id must be the id of the node's chain"),
        ({"url": NODE, "chain_id": 0, "keystore": "k"}, "ledger.chain_id must be the id"),
        ({"url": NODE, "chain_id": 5}, "ledger.url needs ledger.keystore, a folder of encrypted"),
        ({"url": NODE, **KEPT, "simulated_keys": True}, "must be false with ledger.keystore"),
        (
            {"url": NODE, **KEPT, "contract": "0x12"},
            "ledger.contract must be null or an address",
        ),
        ({"url": NODE, **KEPT, "patience": 0.0}, "ledger.patience must be > 0 and finite; got 0.0"),
        ({"url": NODE, **KEPT, "threshold": 0}, "ledger.threshold must be from 1 to 32; got 0"),
        ({"url": "env:", **KEPT}, "ledger.url must be env:NAME; got 'env:'"),
        (
            {"url": "http://10.0.0.1:1", "chain_id": 5, "simulated_keys": True},
            "ledger.simulated_keys must be false with a node on another machine",
        ),
        (
            {"url": "http://127.0.0.1.example", "chain_id": 5, "simulated_keys": True},
            "ledger.simulated_keys must be false with a node on another machine",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        LedgerConfig(**settings)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_variable_is_read_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LedgerConfig(url="env:OUR_NODE", chain_id=5, simulated_keys=True)
    monkeypatch.setenv("OUR_NODE", "http://127.0.0.1:1/v3/sesame")
    assert address(config) == "http://127.0.0.1:1/v3/sesame"
    monkeypatch.setenv("OUR_NODE", "https://sesame@node.example/")
    with pytest.raises(ConfigError, match="simulated_keys must be false") as caught:
        address(config)
    assert "sesame" not in str(caught.value)
    for value in ("", "sesame"):
        monkeypatch.setenv("OUR_NODE", value)
        with pytest.raises(ConfigError, match="variable OUR_NODE, which must hold") as caught:
            address(config)
        assert "sesame" not in str(caught.value)


def test_an_interpolation_cannot_bring_a_secret_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_NODE", "https://node.example/v3/sesame")
    with pytest.raises(ConfigError) as caught:
        load_config(["ledger=anvil", "ledger.url=${oc.env:OUR_NODE}"])
    assert "sesame" not in str(caught.value)


def test_where_node_and_keys_are_is_no_setting_of_the_results() -> None:
    def sha256(*overrides: str) -> str:
        config = load_config(["ledger=anvil", *overrides])
        return RunConfig(config, config.defences[0], AttackConfig()).sha256

    there = sha256("ledger.url=http://127.0.0.1:1", "ledger.patience=1.0")
    assert there == sha256()
    assert sha256("ledger.chain_id=1") != there


def test_the_settings_of_a_node_survive_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    config = load_config(["ledger=anvil", "ledger.url=env:NODE"])
    save_config(config, path)
    assert read_config(path) == config
