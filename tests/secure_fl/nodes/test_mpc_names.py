"""A computing node imports what it was started with, and nothing because a message names it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, build_rule, make_stage
from secure_fl.errors import ConfigError
from tests.support.processes import alive

MODULE = '''
import os
from pathlib import Path

from secure_fl.aggregation import Pipeline, Stage, make_stage, rule, stage

HERE = Path(__file__).parent
(HERE / "imported").open("a").write(str(os.getpid()) + chr(10))

@stage
def same() -> Stage:
    """Change nothing.  Reveals: nothing."""
    return make_stage("coordinate_median", {})

@stage
def other() -> Stage:
    """Not permitted, though it is in the same file."""
    (HERE / "called").touch()
    return make_stage("coordinate_median", {})

def unmarked(**params):
    (HERE / "called").touch()

@rule
def middle() -> Pipeline:
    """The median."""
    return Pipeline((same(),), 2.0)
'''
UPDATES = torch.tensor([[0.25], [0.5], [1.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's folder: code of their own, and files that are called like ours or Python's."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "node_code.py").write_text(MODULE)
    (folder / "never_named.py").write_text(MODULE)
    return folder


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[Any]:
    """Nodes that a person started for one stage of their own, in that folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        backend = secure_fl.open_backend("mpc", timeout=60, allow=("node_code:same",))
        with backend:
            yield backend


def opening(stages: Any) -> dict[str, Any]:
    """What a coordinator, honest or not, sends to open a session."""
    rule = {"max_abs": 2.0, "stages": stages}
    return {"do": "open", "session": 99, "rule": rule, "hospitals": 3, "dim": 1, "ties": None}


HOSTILE = {
    "a shell": [{"os:system": {"command": "touch {sentinel}"}}],
    "a program": [{"subprocess:run": {"args": ["touch", "{sentinel}"]}}, "coordinate_median"],
    "built in": [{"builtins:exec": {"source": "open({sentinel!r}, 'w')"}}],
    "by a path of ours": [{"secure_fl.nodes.node:os.system": {"command": "touch {sentinel}"}}],
    "by two colons": [{"node_code:same:other": {}}],
    "with blanks": [{" node_code:same": {}}],
    "another of a permitted file": ["node_code:other"],
    "without a mark": [{"node_code:unmarked": {"command": "touch {sentinel}"}}],
    "a file that was not named": ["never_named:same"],
    "the node itself": ["__main__:main"],
    "a stage that ships, by its path": ["secure_fl.aggregation.stages.clip_norm:clip_norm"],
}


def filled(value: Any, sentinel: Path) -> Any:
    """The message with the file's name in it, wherever it stands."""
    if isinstance(value, dict):
        return {key: filled(below, sentinel) for key, below in value.items()}
    if isinstance(value, list):
        return [filled(below, sentinel) for below in value]
    return value.format(sentinel=str(sentinel)) if isinstance(value, str) else value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_message_makes_a_node_import_and_call_nothing(
    name: str, started: Any, folder: Path
) -> None:
    before = (folder / "imported").read_text()
    message = opening(filled(HOSTILE[name], folder / "sentinel"))
    with pytest.raises(ConfigError, match=r"was not permitted: start the nodes with allow=\("):
        started.ask(message, each=[{"faults": []}] * 2)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".py") in (
        ["__pycache__", "imported"],
        ["imported"],
    )
    assert (folder / "imported").read_text() == before
    assert all(alive(pid) for pid in started.pids.values())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"coordinate_median": {"beta": "node_code:other"}}], "its parameters are: none"),
        ([{"weighted_mean": {"by": "node_code:other"}}], "by must be"),
        ([{"weighted_mean": ["node_code:other"]}], "null or a mapping"),
        ("node_code:other", "stages must be a list"),
        ([["node_code:other"]], "a stage must be"),
    ],
)
def test_names_elsewhere_in_a_message_are_words(
    stages: Any, message: str, started: Any, folder: Path
) -> None:
    with pytest.raises(secure_fl.SecureFLError, match=message):
        started.ask(opening(stages), each=[{"faults": []}] * 2)
    assert not (folder / "called").exists()


def test_what_the_nodes_were_started_with_runs(started: Any) -> None:
    rule = build_rule("node_code:middle")
    assert rule.own_stages == ("node_code:same",)
    assert secure_fl.aggregate(UPDATES, rule, started).update.tolist() == [0.5]


def test_no_launcher_imports_what_nodes_may(started: Any, folder: Path) -> None:
    """Nodes do, after they are forked, and this program, to see that they can; the dealer not."""
    pids = {int(line) for line in (folder / "imported").read_text().split()}
    assert pids == {os.getpid(), *(process.handle.pid for process in started.node_processes)}


def test_a_name_that_nodes_could_not_import_starts_none(folder: Path) -> None:
    for name, message in {
        "no_such_module:same": "cannot import 'no_such_module'",
        "node_code:unmarked": "is not marked",
        "os:system": "is not marked",
        "__main__:same": "same is defined in the program or notebook that runs",
    }.items():
        with pytest.raises(ConfigError, match=message):
            secure_fl.open_backend("mpc", allow=(name,))


PROGRAM = """
import secure_fl
import torch
from secure_fl.aggregation import Pipeline, make_stage, stage
{source}

if __name__ == "__main__":
    updates = torch.tensor([[0.25], [0.5], [1.0]])
    rule = Pipeline((same(), ), 2.0)
    print(secure_fl.aggregate(updates, rule, "mpc").update.tolist())
"""
WRITTEN_HERE = """
@stage
def same():
    return make_stage("coordinate_median", {})
"""


def run_script(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a person's own, as they do, in another folder than the script's."""
    script = folder / "my_script.py"
    script.write_text(PROGRAM.format(source=source))
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(Path(secure_fl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_stage_of_the_script_itself_is_refused_in_plain_words(tmp_path: Path) -> None:
    done = run_script(tmp_path, WRITTEN_HERE)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "same is defined in the program or notebook that runs" in last
    assert "move same into a file, say my_rule.py" in last


def test_a_stage_in_a_file_beside_the_script_runs(tmp_path: Path) -> None:
    (tmp_path / "node_code.py").write_text(MODULE)
    done = run_script(tmp_path, "from node_code import same")
    assert done.stdout == "[0.5]\n", done.stderr


def test_pipelines_say_which_of_their_stages_do_not_ship() -> None:
    assert build_rule("algorithm2").own_stages == ()
    assert Pipeline((make_stage("coordinate_median", {}),), 1.0).own_stages == ()
