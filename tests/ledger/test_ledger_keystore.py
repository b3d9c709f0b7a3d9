"""Keys in files and in the environment."""

import json
import stat
from pathlib import Path

import eth_account
import pytest

from ledger import keystore
from ledger.keys import simulation_key
from ledger.keystore import KeyUnavailable
from ledger.members import Members

KEY = simulation_key(1, "hospital", 0)
LIGHT = 16  # scrypt's n: the tests need no protection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keystore.write_key(KEY, tmp_path / "key.json", "a password", LIGHT)
    return tmp_path / "key.json"


def test_a_key_comes_back_and_another_library_reads_it(path: Path) -> None:
    assert keystore.read_key(path, "a password") == KEY
    assert eth_account.Account.decrypt(json.loads(path.read_text()), "a password") == KEY.secret


def test_the_file_hides_the_key_and_is_its_owners(path: Path) -> None:
    assert KEY.secret.hex() not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        keystore.write_key(KEY, path, "another password", LIGHT)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 3}', '{"version": 9}'])
def test_what_is_no_keystore_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(KeyUnavailable, match=r"bad\.json"):
        keystore.read_key(tmp_path / "bad.json", "a password")


def test_a_wrong_password_and_a_missing_file_are_named(path: Path) -> None:
    with pytest.raises(KeyUnavailable, match=r"key\.json: not a keystore file, or not its pass"):
        keystore.read_key(path, "wrong")
    with pytest.raises(KeyUnavailable, match=r"none\.json: No such file"):
        keystore.read_key(path.with_name("none.json"), "a password")
    with pytest.raises(ValueError, match="password must be not empty"):
        keystore.write_key(KEY, path.with_name("other.json"), "", LIGHT)


@pytest.mark.parametrize("prefix", ["", "0x"])
def test_a_key_from_the_environment(prefix: str) -> None:
    assert keystore.key_from_environment("K", {"K": prefix + KEY.secret.hex()}) == KEY


@pytest.mark.parametrize("value", ["", "12", "zz" * 32, "00" * 32])
def test_a_bad_variable_is_named_and_its_value_is_not_shown(value: str) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        keystore.key_from_environment("LEDGER_KEY", {"LEDGER_KEY": value})
    assert str(caught.value) == "the environment variable LEDGER_KEY holds no key"
    with pytest.raises(KeyUnavailable, match="LEDGER_KEY is not set"):
        keystore.key_from_environment("LEDGER_KEY", {})


def test_members_come_back_from_a_folder(tmp_path: Path) -> None:
    members = Members.simulated(3, hospitals=3, validators=2)
    keystore.write_members(members, tmp_path / "keys", "a password", LIGHT)
    environment = {keystore.PASSWORD_VARIABLE: "a password"}
    assert keystore.read_members(tmp_path / "keys", members.threshold, environment) == members
    (tmp_path / "keys" / "hospital-1.json").unlink()
    with pytest.raises(KeyUnavailable, match=r"hospital-1\.json"):
        keystore.read_members(tmp_path / "keys", 2, environment)
    with pytest.raises(KeyUnavailable, match="LEDGER_KEYSTORE_PASSWORD is not set"):
        keystore.read_members(tmp_path / "keys", 2, {})
    with pytest.raises(KeyUnavailable, match="no keystore file"):
        keystore.read_members(tmp_path / "none", 2, environment)
