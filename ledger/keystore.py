"""Keys from encrypted keystore files (Web3 Secret Storage, version 3) or from the environment.

Keys and passwords never stand in a configuration: at most a folder of keystore files is named
there, and its password comes from the environment.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import eth_keyfile

from ledger.errors import LedgerError, require
from ledger.keys import Signer
from ledger.members import (
    ADMINISTRATOR,
    COORDINATOR,
    HOSPITAL,
    NODE,
    ROLE_NAMES,
    VALIDATOR,
    Members,
)

PASSWORD_VARIABLE = "LEDGER_KEYSTORE_PASSWORD"
# Cost of the key derivation (scrypt's n): about a second, what go-ethereum writes.
WORK_FACTOR = 2**18


class KeyUnavailable(LedgerError):
    """A key cannot be had: its file, its password or its variable is missing or wrong."""


def write_key(signer: Signer, path: Path, password: str, work_factor: int = WORK_FACTOR) -> None:
    """Write a key, encrypted, to a new file that only its owner can read."""
    require(len(password) > 0, "password", "not empty", "an empty one")
    fields = eth_keyfile.create_keyfile_json(
        signer.secret, password.encode(), kdf="scrypt", iterations=work_factor
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(fields, file)


def read_key(path: Path, password: str) -> Signer:
    """Decrypt a key.

    Raises:
        KeyUnavailable: no such file, not a keystore file, or not its password.
    """
    try:
        fields = json.loads(path.read_text())
        return Signer(eth_keyfile.decode_keyfile_json(fields, password.encode()))
    except OSError as error:
        raise KeyUnavailable(f"keystore file {path}: {error.strerror}") from error
    except (KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise KeyUnavailable(f"{path} is not a keystore file (version 3)") from error
    except ValueError as error:
        # The words of the library are kept out: they may quote what it was given.
        raise KeyUnavailable(
            f"keystore file {path}: not a keystore file, or not its password"
        ) from error


def key_from_environment(variable: str, environment: Mapping[str, str] = os.environ) -> Signer:
    """A key from a variable that holds 32 bytes in hex.

    Raises:
        KeyUnavailable: the variable is not set or holds no key; its value is never shown.
    """
    text = environment.get(variable)
    if text is None:
        raise KeyUnavailable(f"the environment variable {variable} is not set")
    try:
        return Signer(bytes.fromhex(text.strip().removeprefix("0x")))
    except ValueError:
        raise KeyUnavailable(f"the environment variable {variable} holds no key") from None


def write_members(
    members: Members, folder: Path, password: str, work_factor: int = WORK_FACTOR
) -> None:
    """Write every member's key to ``folder/ROLE-NUMBER.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, name in ROLE_NAMES.items():
        for seat, signer in enumerate(members.of_role(role)):
            write_key(signer, folder / f"{name}-{seat}.json", password, work_factor)


def read_members(
    folder: Path, threshold: int, environment: Mapping[str, str] = os.environ
) -> Members:
    """Read the keys that `write_members` wrote; the password is in LEDGER_KEYSTORE_PASSWORD.

    Args:
        folder: with ``administrator-0.json``, ``hospital-0.json`` and so on, without gaps.
        threshold: how many administrators approve a change.
        environment: where the password stands.

    Raises:
        KeyUnavailable: the password is not set, or a key cannot be read.
    """
    password = environment.get(PASSWORD_VARIABLE)
    if password is None:
        raise KeyUnavailable(f"the environment variable {PASSWORD_VARIABLE} is not set")

    def keys(role: int) -> tuple[Signer, ...]:
        name = ROLE_NAMES[role]
        size = len(list(folder.glob(f"{name}-*.json")))
        if size == 0:
            raise KeyUnavailable(f"no keystore file {folder / name}-0.json")
        return tuple(read_key(folder / f"{name}-{i}.json", password) for i in range(size))

    return Members(
        administrators=keys(ADMINISTRATOR),
        threshold=threshold,
        coordinator=keys(COORDINATOR)[0],
        hospitals=keys(HOSPITAL),
        nodes=keys(NODE),
        validators=keys(VALIDATOR),
    )
