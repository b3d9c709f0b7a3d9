"""The ledger that a run writes to: a new chain in this process, or a contract on a node.

Nothing here keeps a secret in a file or a message: keys come from the keystore and stay in memory,
an address with credentials comes from the environment and is never written or shown.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import ledger
from secure_fl.errors import ConfigError
from secure_fl.settings.ledger import ENVIRONMENT, LedgerConfig, check_loopback

if TYPE_CHECKING:
    from ledger.client.consortium import Consortium
    from ledger.members.members import Members

# How long to look for a node before a job begins, in seconds.
FIRST_LOOK = 5.0


def open_ledger(
    config: LedgerConfig,
    hospitals: int,
    validators: int,
    nodes: int,
    seed: int,
    salt: bytes | None = None,
) -> Consortium:
    """A consortium whose contract has seen no round yet, everybody registered.

    Args:
        config: where, and by which rule.
        hospitals, validators, nodes: how many take part.
        seed: of simulation keys.
        salt: what sets a chain in this process apart from others, see `ledger.open_chain`.

    Raises:
        ConfigError: the keystore holds too few keys, or the contract given is in use or was made
            for others.
        LedgerError: the node, its chain, its contract or a key is not what it must be.
    """
    if config.url is None:
        return ledger.open_chain(
            hospitals,
            validators=validators,
            nodes=nodes,
            seed=seed,
            parameters=config.build(),
            mode=config.mode,
            salt=salt,
        )
    return _connect(config, members(config, hospitals, validators, nodes, seed), config.patience)


def check_ledger(
    config: LedgerConfig, hospitals: int, validators: int, nodes: int, seed: int
) -> None:
    """Before anything runs: is the node there, is it the right chain, are keys and funds there?

    Nothing is written to the chain. A chain in this process needs no check.

    Raises:
        ConfigError, LedgerError: see `open_ledger`.
    """
    if config.url is None:
        return
    keys = members(config, hospitals, validators, nodes, seed)
    patience = min(config.patience, FIRST_LOOK)
    if config.contract is None:
        from ledger.chains.node import NodeChain

        chain = NodeChain(address(config), _chain_id(config), patience)
        if config.simulated_keys:
            chain.fund_on_development_node(keys.coordinator.address)
        chain.require_funds(keys.coordinator.address)
    else:
        _connect(config, keys, patience)


def _connect(config: LedgerConfig, keys: Members, patience: float) -> Consortium:
    contract = None if config.contract is None else bytes.fromhex(config.contract[2:])
    client = ledger.connect(
        address(config),
        keys,
        chain_id=_chain_id(config),
        contract=contract,
        parameters=config.build(),
        mode=config.mode,
        patience=patience,
    )
    if contract is not None:
        _require_unused(client, config)
    return client


def _require_unused(client: Consortium, config: LedgerConfig) -> None:
    """A contract given must be one that `open_ledger` could have made for this run."""
    place = f"ledger.contract {config.contract}"
    rounds = client.connection.read("round")
    if rounds or any(client.model_hash) or client.connection.read("phase"):
        raise ConfigError(
            f"{place} has seen {rounds} rounds, and a run begins with round 1: a run that was cut "
            "off cannot go on in the middle of a contract; without ledger.contract every cell "
            "makes one"
        )
    parameters = config.build()
    held = tuple(client.connection.read(name) for name in ("rule", "limits", "timing"))
    words = (parameters.rule_words(), parameters.limit_words(), parameters.timing_words())
    if held != words:
        raise ConfigError(f"{place} has other parameters than the settings under ledger")
    client.connection.require_seats(client.roster)


def members(
    config: LedgerConfig, hospitals: int, validators: int, nodes: int, seed: int
) -> Members:
    """Keys of all who take part; of a larger keystore the first ones.

    Raises:
        ConfigError: the keystore holds fewer.
        KeyUnavailable: it cannot be read.
    """
    from dataclasses import replace

    from ledger.members.members import Members

    if config.keystore is None:
        return Members.simulated(seed, hospitals, nodes, validators)
    kept = _keystore(Path(config.keystore), config.threshold)
    wanted = {"hospitals": hospitals, "nodes": nodes, "validators": validators}
    for role, count in wanted.items():
        held = len(getattr(kept, role))
        if held < count:
            raise ConfigError(
                f"ledger.keystore must hold the keys of {count} {role}; "
                f"{config.keystore} has {held}"
            )
    return replace(
        kept,
        hospitals=kept.hospitals[:hospitals],
        nodes=kept.nodes[:nodes],
        validators=kept.validators[:validators],
    )


@cache
def _keystore(folder: Path, threshold: int) -> Members:
    """A keystore's keys, once in a process: decrypting takes about a second for each.

    Nodes that are processes of their own read theirs themselves; here they stay locked unless the
    nodes of a defence are simulated in this process.
    """
    from ledger.members.keystore import read_members

    try:
        return read_members(folder, threshold, nodes_locked=True)
    except ValueError as error:
        raise ConfigError(f"ledger.keystore {folder}: {error}") from error


def address(config: LedgerConfig) -> str:
    """Where the node is; from the environment if the settings say so.

    Raises:
        ConfigError: the variable is not set or holds no address; its value is not shown.
    """
    url = config.url or ""
    if not url.startswith(ENVIRONMENT):
        return url
    name = url.removeprefix(ENVIRONMENT)
    value = os.environ.get(name, "")
    if not value.startswith(("http://", "https://")):
        raise ConfigError(
            f"ledger.url names the environment variable {name}, which must hold http://... or "
            "https://..."
        )
    if config.simulated_keys:
        check_loopback(value)
    return value


def _chain_id(config: LedgerConfig) -> int:
    assert config.chain_id is not None  # the settings refuse a URL without it
    return config.chain_id
