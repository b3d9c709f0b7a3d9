"""Files in the current directory stand in for nothing, and a person's own code is found there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import secure_fl
from eval.cli import main as cli
from eval.figures.plotting import ink_colour, theme
from tests.support import tiny_job

MISLEADING = (
    *("attacks", "configs", "json", "ledger", "matplotlib", "pickle", "random", "runpy"),
    *("secure_fl", "select", "socket", "ssl", "tempfile", "torch", "yaml"),
)
OWN_ATTACK = '''
from dataclasses import dataclass

from attacks import Attack, attack
from helper import NOTHING

@attack
@dataclass(frozen=True)
class Zero(Attack):
    """Send nothing but zeros."""

    def craft(self, honest, own, view):
        return NOTHING * own
'''
OWN_RULE = '''
from secure_fl.aggregation import Pipeline, make_stage, rule, stage

@stage
def same():
    """Change nothing.  Reveals: nothing."""
    from late import NAME  # where the function is called, in a node

    return make_stage(NAME, {})

@rule
def middle():
    """The median."""
    return Pipeline((same(),), 2.0)
'''


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    wrong = f"open({str(folder / 'imported')!r}, 'a').write(__name__ + ' ')\n"
    for name in MISLEADING:
        (folder / f"{name}.py").write_text(wrong + "raise SystemExit('the wrong file')\n")
    for name in ("eval", "hydra_plugins"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(wrong)
    (folder / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: red\n")
    (folder / "own_attack.py").write_text(OWN_ATTACK)
    (folder / "own_rule.py").write_text(OWN_RULE)
    (folder / "helper.py").write_text("NOTHING = 0\n")
    (folder / "late.py").write_text("NAME = 'coordinate_median'\n")
    return folder


@pytest.fixture
def inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In that folder; the processes that a command starts are started anew."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(here)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    yield here
    signal.signal(signal.SIGTERM, before)
    assert not (here / "imported").exists()


@pytest.mark.slow
def test_a_job_and_its_audit_among_misleading_files(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*tiny_job.SETTINGS[:-3], "rounds=1", "attack=own_attack:Zero"]
    rule = ["defence=own_rule:middle", "defence.backend=mpc"]
    assert cli.main(["run", *settings, *rule, "--out", "job"]) == 0
    assert {path.name for path in Path("job/cells").iterdir()} == {"middle--none", "middle--Zero"}
    opened = Path("job/cells/middle--Zero/openings.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in opened] == ["update"]
    allowed = ["--allow", "own_attack:Zero", "--allow", "own_rule:middle"]
    assert f"\naudit:  secure-fl audit job {' '.join(allowed)}\n" in capsys.readouterr().out
    assert cli.main(["audit", "job", *allowed]) == 0
    capsys.readouterr()
    assert cli.main(["run", "--resume", "job", *allowed[2:]]) == 2
    refused = "'own_attack:Zero' is code of somebody's own and was not permitted"
    assert refused in capsys.readouterr().err


@pytest.mark.slow
def test_a_rule_of_ones_own_is_compared(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rule", "own_rule:middle", "--hospitals", "3", "--dim", "2"]
    assert cli.main(["compare", *words]) == 0
    assert "own_rule:middle" in capsys.readouterr().out


def test_figures_do_not_depend_on_a_file_in_the_current_directory(here: Path) -> None:
    program = (
        "import matplotlib as mpl\nfrom eval.figures.plotting import theme\n"
        "assert mpl.rcParams['text.usetex']\n"
        "with theme(dark=False):\n    print(mpl.rcParams['text.usetex'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(secure_fl.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
    with theme(dark=True):
        assert ink_colour() == "#E6E6E6"


def test_a_crypten_program_over_tcp_finds_the_file_beside_it(tmp_path: Path) -> None:
    """As `python SCRIPT` does, whatever the current directory is."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "helper.py").write_text("WORD = 'found'\n")
    script = tmp_path / "scripts" / "program.py"
    script.write_text("import helper\nprint(helper.WORD)\n")
    done = subprocess.run(
        [sys.executable, "-m", "secure_fl.mpc.over_tcp", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(secure_fl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "found\n", done.stderr
