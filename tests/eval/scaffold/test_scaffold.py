"""What `secure-fl new` writes runs as it stands, in a folder outside the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.cli import main as cli
from eval.scaffold import write
from eval.scaffold.write import KINDS, class_name, write_scaffold
from secure_fl.errors import InputError
from tests.support import warm

TEMPLATES = Path(write.__file__).parent / "templates"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One of each kind, written by the command."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for kind in KINDS:
            assert cli.main(["new", kind, f"made_{kind}"]) == 0
    return place


def test_what_is_written(folder: Path) -> None:
    names = [f"{test}made_{kind}.py" for kind in KINDS for test in ("", "test_")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert not re.search(r"my_|My[A-Z]", "".join((folder / name).read_text() for name in names))
    assert {path.name for path in TEMPLATES.glob("*.py")} == {
        f"{test}my_{kind}.py" for kind in KINDS for test in ("", "test_")
    }


@pytest.mark.slow
def test_their_tests_pass(folder: Path) -> None:
    done = warm.run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "."], folder)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^13 passed", done.stdout, re.MULTILINE), done.stdout


def test_they_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All four in one job, with the settings that the command prints."""
    monkeypatch.chdir(folder)
    given = [KINDS[kind].format(name=f"made_{kind}", cls=f"Made{kind.title()}") for kind in KINDS]
    settings = [s for line in given for s in line.split() if s != "attack=sign_flip"]
    assert cli.main(["run", *settings, "rounds=1", "--out", "job"]) == 0
    row = json.loads(Path("job/cells/made_rule--MadeAttack/cell.json").read_text())
    assert (row["attack"], row["defence"], row["hospitals"]) == ("MadeAttack", "made_rule", 4)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("attack", "made_attack", "made_attack.py is there already"),
        ("rule", "made_attack", "made_attack.py is there already"),
        ("attack", "json", "none of Python's own modules"),
        ("attack", "attacks", "none of secure-fl's packages"),
        ("rule", "numpy", r"none of another module, as .*numpy"),
        ("rule", "stage", "stage means something in the file already"),
        ("attack", "attack", "attack means something in the file already"),
        ("model", "", "a letter first"),
        ("model", "a/b", "a letter first"),
        ("model", "2d", "a letter first"),
        ("model", "a.b", "a letter first"),
        ("model", "ärzte", "a letter first"),
        ("model", "m" * 65, "at most 64"),
        ("data", "lambda", "no keyword"),
        ("data", "match", "no keyword"),
        ("data", "test_x", "pytest would take for a test"),
        ("attack", "sign_flip", r"none that ships \(attack\)"),
        ("rule", "krum", r"none that ships \(rule\)"),
        ("data", "digits", r"none that ships \(data\)"),
        ("model", "mlp", r"none that ships \(model\)"),
        ("thing", "x", "kind must be one of attack, rule, data, model"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_written(
    folder: Path, kind: str, name: str, why: str
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=why):
        write_scaffold(kind, name, folder)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("taken", ["free_name.py", "test_free_name.py", "free_name"])
def test_neither_file_is_written_where_one_is_there(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).symlink_to("nowhere")
    with pytest.raises(InputError, match=f"{taken} is there already"):
        write_scaffold("rule", "free_name", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_the_first_file_goes_where_the_second_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Path.open

    def full(path: Path, *args: object, **options: object) -> object:
        if path.name == "test_free_name.py":
            raise OSError(28, "No space left on device")
        return really(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        write_scaffold("rule", "free_name", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_class_is_named_after_its_module() -> None:
    assert [class_name(n) for n in ("my_attack", "x", "two__parts_", "CamelCase")] == [
        *("MyAttack", "X", "TwoParts", "CamelCase")
    ]
