"""Keys from encrypted keystore files (Web3 Secret Storage, version 3) or from the environment.

usage: python -m ledger.members.keystore FOLDER [--hospitals N] [--nodes N] ...

makes a consortium's keys.

Keys and passwords never stand in a configuration: at most a folder of keystore files is named
there. The password of ``node-0.json`` is in LEDGER_KEYSTORE_PASSWORD_NODE_0, or where that is not
set in LEDGER_KEYSTORE_PASSWORD, which holds for every file.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import eth_keyfile

from ledger.errors import LedgerError, require
from ledger.files import parse_json, read_plain
from ledger.members.keys import Signer
from ledger.members.members import (
    ADMINISTRATOR,
    COORDINATOR,
    HOSPITAL,
    NODE,
    ROLE_NAMES,
    VALIDATOR,
    Locked,
    Members,
)

PASSWORD_VARIABLE = "LEDGER_KEYSTORE_PASSWORD"
# Largest file of a key that is read.
MAX_KEY_BYTES = 2**16
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


def _fields(path: Path) -> Any:
    return parse_json(read_plain(path, MAX_KEY_BYTES, follow=True).decode("utf-8"))


def read_key(path: Path, password: str) -> Signer:
    """Decrypt a key.

    Raises:
        KeyUnavailable: no such file, not a keystore file, not its password, or not the key of the
            address that the file states.
    """
    try:
        fields = _fields(path)
        signer = Signer(eth_keyfile.decode_keyfile_json(fields, password.encode()))
    except OSError as error:
        raise KeyUnavailable(f"keystore file {path}: {error.strerror}") from error
    except (
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        NotImplementedError,
    ) as error:
        raise KeyUnavailable(f"{path} is not a keystore file (version 3)") from error
    except ValueError as error:
        # The words of the library are kept out: they may quote what it was given.
        raise KeyUnavailable(
            f"keystore file {path}: not a keystore file, or not its password"
        ) from error
    if "address" in fields and address_of(path) != signer.address:
        raise KeyUnavailable(f"keystore file {path} states another address than its key's")
    return signer


def address_of(path: Path) -> bytes:
    """The address that a keystore file states, 20 bytes; no password is needed.

    Raises:
        KeyUnavailable: no such file, or it states none.
    """
    try:
        address = bytes.fromhex(str(_fields(path)["address"]).removeprefix("0x"))
    except OSError as error:
        raise KeyUnavailable(f"keystore file {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError):
        address = b""
    if len(address) != 20:
        raise KeyUnavailable(f"keystore file {path} states no address")
    return address


def password_of(path: Path, environment: Mapping[str, str] = os.environ) -> str:
    """The password of a keystore file, by its name.

    Raises:
        KeyUnavailable: neither its own variable nor the common one is set.
    """
    own = f"{PASSWORD_VARIABLE}_{re.sub(r'[^A-Z0-9]', '_', path.stem.upper())}"
    password = environment.get(own, environment.get(PASSWORD_VARIABLE))
    if password is None:
        raise KeyUnavailable(
            f"the environment variable {PASSWORD_VARIABLE} is not set, nor {own} for {path.name}"
        )
    return password


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
    members: Members,
    folder: Path,
    password: str | Mapping[str, str],
    work_factor: int = WORK_FACTOR,
    progress: Callable[[str, Signer], None] = lambda name, signer: None,
) -> None:
    """Write every member's key to ``folder/ROLE-NUMBER.json``: a new folder, whole or not at all.

    Args:
        password: of all files, or of each by its name.
        progress: told each file's name and key when it is written.

    Raises:
        LedgerError: the folder exists, or cannot be made.
    """
    if folder.exists():
        raise LedgerError(f"{folder} exists: keys are never overwritten")
    partial = folder.with_name(folder.name + ".partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise LedgerError(f"cannot make folder {partial}: {error.strerror}") from error
    try:
        for role, name in ROLE_NAMES.items():
            for seat, signer in enumerate(members.of_role(role)):
                file = f"{name}-{seat}.json"
                own = password if isinstance(password, str) else password[file]
                write_key(signer, partial / file, own, work_factor)
                progress(file, signer)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_members(
    folder: Path,
    threshold: int,
    environment: Mapping[str, str] = os.environ,
    nodes_locked: bool = False,
) -> Members:
    """Read the keys that `write_members` wrote, each with its password (`password_of`).

    Args:
        folder: with ``administrator-0.json``, ``hospital-0.json`` and so on, without gaps.
        threshold: how many administrators approve a change.
        environment: where the passwords stand.
        nodes_locked: leave the nodes' keys in their files until one has to sign in this process.

    Raises:
        KeyUnavailable: a password is not set, or a key cannot be read.
    """

    def files(role: int) -> list[Path]:
        name = ROLE_NAMES[role]
        size = len(list(folder.glob(f"{name}-*.json")))
        if size == 0:
            raise KeyUnavailable(f"no keystore file {folder / name}-0.json")
        return [folder / f"{name}-{i}.json" for i in range(size)]

    def key(path: Path) -> Signer:
        return read_key(path, password_of(path, environment))

    def keys(role: int) -> tuple[Signer, ...]:
        return tuple(key(path) for path in files(role))

    def locked(path: Path) -> Locked:
        return Locked(address_of(path), lambda: key(path))

    return Members(
        administrators=keys(ADMINISTRATOR),
        threshold=threshold,
        coordinator=keys(COORDINATOR)[0],
        hospitals=keys(HOSPITAL),
        nodes=tuple(locked(path) for path in files(NODE)) if nodes_locked else keys(NODE),
        validators=keys(VALIDATOR),
    )


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Make new keys for a consortium and print the members' addresses."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger.members.keystore",
        description="Make a key for every member of a consortium, each in an encrypted file of its "
        f"own, in a new folder. The password of node-0.json is in {PASSWORD_VARIABLE}_NODE_0, or "
        f"where that is not set in {PASSWORD_VARIABLE}, which holds for every file.",
    )
    parser.add_argument("folder", type=Path, help="new folder")
    defaults = {ADMINISTRATOR: 3, HOSPITAL: 20, NODE: 2, VALIDATOR: 5}
    for role, size in defaults.items():
        parser.add_argument(
            f"--{ROLE_NAMES[role]}s", type=int, default=size, help=f"default: {size}", metavar="N"
        )
    options = parser.parse_args(argv)

    def show(name: str, signer: Signer) -> None:
        funds = "  (pays for transactions: needs funds)" if name == "coordinator-0.json" else ""
        print(f"{name:<24} 0x{signer.address.hex()}{funds}", flush=True)

    try:
        sizes = {role: getattr(options, f"{ROLE_NAMES[role]}s") for role in defaults}
        members = Members.fresh(sizes, threshold=1)  # not part of the keys
        files = [
            f"{name}-{seat}.json"
            for role, name in ROLE_NAMES.items()
            for seat in range(len(members.of_role(role)))
        ]
        passwords = {file: password_of(Path(file), environment) for file in files}
        write_members(members, options.folder, passwords, WORK_FACTOR, show)
    except (LedgerError, ValueError) as error:
        print(f"python -m ledger.members.keystore: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
