"""Names become code in one place: names that a person permitted, and marked objects alone."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule, make_rule, make_stage
from secure_fl.errors import ConfigError, NotPermitted
from secure_fl.extensions import NONE, load_extensions
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.permitted import kind_of, permit

COUNT = itertools.count()
MODULE = '''
from dataclasses import dataclass
from pathlib import Path

from attacks import Attack, attack
from secure_fl.aggregation import Pipeline, make_stage, rule, stage

Path("imported").touch()

class Pretends:
    """Says of itself what the decorators say, and would be called."""

    _is_marked = "Pretends"
    config = ("Pretends", {})
    __wrapped__ = make_stage

    def __call__(self, **params):
        Path("called").touch()

pretends = Pretends()

@attack
@dataclass(frozen=True)
class Zero(Attack):
    """Send nothing but zeros."""

    def craft(self, honest, own, view):
        return 0 * own

class Derived(Zero):
    """Inherits everything but the mark."""

@stage
def same(times: int = 1):
    """Change nothing.  Reveals: nothing."""
    return make_stage("coordinate_median", {})

@rule
def middle(times: int = 1):
    """The median."""
    return Pipeline((same(times),), 2.0)

def unmarked():
    return middle()
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a person's own in the current directory, which is not on Python's path."""
    name = f"own_code_{next(COUNT)}"  # a module is imported once
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_only_what_a_decorator_marked_is_taken(own: str) -> None:
    marked = permit([f"{own}:{name}" for name in ("Zero", "same", "middle")])
    assert [kind_of(thing) for thing in marked.objects.values()] == ["attack", "stage", "rule"]
    for name in ("Pretends", "pretends", "Derived", "unmarked", "Path"):
        with pytest.raises(ConfigError, match=f"'{name}' of {own} .* is not marked"):
            permit([f"{own}:{name}"])
    with pytest.raises(ConfigError, match=rf"{own} .* has no 'Zeros' \(did you mean Zero\?\)"):
        permit([f"{own}:Zeros"])
    with pytest.raises(ConfigError, match=r"'Zero' .* is not marked .*; what is: middle, same$"):
        load_extensions([f"{own}:Zero"])  # as a node does, which knows of no attack
    assert not Path("called").exists()


@pytest.mark.parametrize(
    "name",
    ["os", "os:", ":system", "os:path.join", "os:system:x", ".os:system", "a/b:c", "o s:x", "ос:x"],
)
def test_other_forms_are_no_names(name: str) -> None:
    with pytest.raises(ConfigError, match="module:name"):
        load_extensions([name])


@pytest.mark.parametrize(
    "name", ["os:system", "subprocess:run", "builtins:exec", "secure_fl.imports:import_named"]
)
def test_what_ships_with_python_or_with_us_is_not_called(name: str) -> None:
    with pytest.raises(ConfigError, match="is not marked"):
        permit([name])


def test_kinds_are_not_taken_for_each_other(own: str) -> None:
    extensions = permit([f"{own}:Zero", f"{own}:same", f"{own}:middle"])
    with pytest.raises(ConfigError, match="must be marked with @rule; it is with @attack"):
        make_rule(f"{own}:Zero", {}, extensions)
    with pytest.raises(ConfigError, match="must be marked with @stage; it is with @rule"):
        make_stage(f"{own}:middle", {}, extensions)
    with pytest.raises(ConfigError, match="must be marked with @attack; it is with @stage"):
        AttackConfig(f"{own}:same").build(extensions)


def test_settings_hold_names_and_import_nothing(own: str) -> None:
    attack = AttackConfig(f"{own}:Zero")
    named = DefenceConfig(rule=f"{own}:middle")
    listed = DefenceConfig(rule={"max_abs": 1.0, "stages": [f"{own}:same", "coordinate_median"]})
    for config in (attack, named, listed):
        with pytest.raises(NotPermitted, match=r"--allow") as caught:
            config.build()
        assert caught.value.name.startswith(own)
    with pytest.raises(NotPermitted):
        make_stage(f"{own}:same", {})
    with pytest.raises(NotPermitted):
        make_rule(f"{own}:middle", {}, NONE)
    other = load_extensions([f"{own}:middle"])
    Path("imported").unlink()  # by the person's own name, just now
    with pytest.raises(NotPermitted):
        listed.build(other)  # another name of a permitted module
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    "override",
    ["attack={own}:Zero", "defence={own}:middle", "defence.rule={own}:middle"],
)
def test_who_writes_a_name_permits_it_and_who_reads_it_does_not(own: str, override: str) -> None:
    base = [] if override.startswith("attack") else ["attacks=[]"]
    config = load_config([*base, "defence=fedavg", override.format(own=own)])
    assert Path("imported").exists()
    assert len(config.own_names) == 1
    save_config(config, Path("config.yaml"))
    Path("imported").unlink()
    sys.modules.pop(own)
    again = read_config(Path("config.yaml"))
    assert again == config
    with pytest.raises(NotPermitted, match=config.own_names[0]):
        again.permit(NONE)
    assert not Path("imported").exists()
    again.permit(permit(config.own_names))
    assert Path("imported").exists()


def test_a_caller_who_writes_a_name_permits_it(own: str) -> None:
    updates = torch.tensor([[0.25], [0.5], [1.0]])
    for rule in (f"{own}:middle", {"max_abs": 2.0, "stages": [{f"{own}:same": {"times": 2}}]}):
        assert secure_fl.aggregate(updates, rule, "fixed").update.tolist() == [0.5]
    assert build_rule(f"{own}:middle", times=3).own_stages == (f"{own}:same",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("description: ${oc.env:HOME}", "description must be a plain value"),
        ("data: {path: 'x${oc.env:HOME}'}", "data.path must be a plain value"),
        ("attacks: [{name: '${name}'}]", r"attacks\[0\].name must be a plain value"),
        ("model: {params: {'${seed}': 1}}", "a key below model.params must be a plain value"),
        ("description: ${oc.decode:x}", "description must be a plain value"),
        ("description: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("rounds: &a 3\nseed: *a", r"line 2 refers to another place by \*a"),
        ("seed: 1\nseed: 2", "keys must be distinct"),
        ("1: 2", "keys must be distinct words"),
        ("description: 2026-01-02", "is not a word or a number"),
        ("description: " + "[" * 50_000, "nested deeper than 32 levels"),
        ("name: ../../elsewhere", "name must be letters"),
        ("defences: [{name: ../../elsewhere}]", "defence.name must be letters"),
    ],
    ids=lambda value: value[:20],
)
def test_settings_of_a_folder_are_plain_data(settings: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(settings)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert os.environ["HOME"] not in str(caught.value)


PROGRAM = """
import os, sys
from secure_fl.settings.permitted import permit
permit(["mine:Zero"])
import ledger, attacks.alie, eval.cli, random, ssl
from ledger.audit.chain_file import audit
assert os.path.dirname(os.path.abspath(ledger.__file__)) != os.getcwd()
print("fine")
"""


def test_files_beside_a_persons_own_code_stand_in_for_nothing(tmp_path: Path) -> None:
    """Not even for packages that an editable installation finds after Python's path."""
    (tmp_path / "mine.py").write_text(MODULE)
    for name in ("attacks", "ledger", "random", "ssl", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong file')\n")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "__init__.py").write_text("raise SystemExit('the wrong file')\n")
    environment: dict[str, Any] = {**os.environ}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr
