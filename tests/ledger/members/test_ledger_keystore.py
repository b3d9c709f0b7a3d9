"""Keys in files and in the environment."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import eth_account
import pytest

from ledger.errors import LedgerError
from ledger.members import keystore
from ledger.members.keys import simulation_key
from ledger.members.keystore import KeyUnavailable
from ledger.members.members import ROLE_NAMES, Members

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


@pytest.mark.parametrize(("name", "value"), [("r", 0), ("p", 0), ("n", 0), ("dklen", 0)])
def test_a_work_that_cannot_be_done_is_no_keystore_file(path: Path, name: str, value: int) -> None:
    fields = json.loads(path.read_text())
    fields["crypto"]["kdfparams"][name] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(KeyUnavailable, match=r"key\.json"):
        keystore.read_key(path, "a password")


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


def test_each_file_has_a_password_of_its_own(tmp_path: Path) -> None:
    """Who reads the others' keys needs no node's password, and has no node's key."""
    members = Members.simulated(3, hospitals=2, validators=1)
    folder = tmp_path / "keys"
    names = [
        f"{name}-{seat}.json"
        for role, name in ROLE_NAMES.items()
        for seat in range(len(members.of_role(role)))
    ]
    keystore.write_members(members, folder, {name: f"words of {name}" for name in names}, LIGHT)
    variables = {
        f"{keystore.PASSWORD_VARIABLE}_{name[:-5].upper().replace('-', '_')}": f"words of {name}"
        for name in names
    }
    assert keystore.read_members(folder, 2, variables) == members
    without = {name: words for name, words in variables.items() if "_NODE_" not in name}
    read = keystore.read_members(folder, 2, without, nodes_locked=True)
    assert replace(read, nodes=members.nodes) == members
    assert [node.address for node in read.nodes] == [node.address for node in members.nodes]
    with pytest.raises(KeyUnavailable, match=r"is not set, nor \w+_NODE_1 for node-1\.json"):
        read.nodes[1].sign(bytes(32))
    opened = keystore.read_members(folder, 2, variables, nodes_locked=True).nodes[1]
    assert opened.sign(bytes(32)) == members.nodes[1].sign(bytes(32))
    assert opened.secret == members.nodes[1].secret


def test_a_file_that_states_another_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node-0.json"
    keystore.write_key(KEY, path, "words", LIGHT)
    assert keystore.address_of(path) == KEY.address
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "address": "11" * 20}))
    with pytest.raises(KeyUnavailable, match="states another address than its key's"):
        keystore.read_key(path, "words")
    for address in ("11", "zz" * 20, None):
        path.write_text(json.dumps({**fields, "address": address}))
        with pytest.raises(KeyUnavailable, match="states no address"):
            keystore.address_of(path)
    with pytest.raises(KeyUnavailable, match="No such file"):
        keystore.address_of(tmp_path / "none.json")


def test_a_folder_of_keys_is_never_overwritten_nor_left_half_written(tmp_path: Path) -> None:
    members = Members.simulated(3, hospitals=1, nodes=1, validators=1)
    target = tmp_path / "keys"

    def stop(name: str, signer: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keystore.write_members(members, target, "a password", LIGHT, stop)
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    with pytest.raises(LedgerError, match="keys exists: keys are never overwritten"):
        keystore.write_members(members, target, "a password", LIGHT)
    with pytest.raises(LedgerError, match="cannot make folder"):
        keystore.write_members(members, Path("/dev/null/keys"), "a password", LIGHT)


def test_a_consortium_makes_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keystore, "WORK_FACTOR", LIGHT)
    environment = {keystore.PASSWORD_VARIABLE: "a password"}
    sizes = ["--hospitals", "3", "--nodes", "2", "--validators", "1", "--administrators", "2"]
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert keystore.main([str(folder), *sizes], environment) == 0
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        members = keystore.read_members(folder, 2, environment)
        assert [len(members.of_role(role)) for role in ROLE_NAMES] == [2, 3, 2, 1, 1]
        said = capsys.readouterr().out
        for role in ROLE_NAMES:
            for signer in members.of_role(role):
                assert f"0x{signer.address.hex()}" in said
                assert signer.secret.hex() not in said
                found.append(signer.secret)
        assert f"0x{members.coordinator.address.hex()}  (pays for transactions" in said
    assert len(set(found)) == 18


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--hospitals", "0"], {keystore.PASSWORD_VARIABLE: "p"}, "hospitals must be 1 to 1024"),
        ([], {}, "LEDGER_KEYSTORE_PASSWORD is not set"),
        ([], {keystore.PASSWORD_VARIABLE: ""}, "password must be not empty"),
    ],
)
def test_a_bad_command_line_makes_no_keys(
    options: list[str],
    environment: dict[str, str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert keystore.main([str(tmp_path / "keys"), *options], environment) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
