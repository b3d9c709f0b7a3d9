"""The command line as typed: bad input is one line and status 2, and creates nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attacks
from eval.cli import main as cli
from eval.jobs.manifest import job_head
from secure_fl import data
from secure_fl.aggregation import rule_names
from secure_fl.data.schemes import SCHEMES
from secure_fl.settings.config import choices, load_config, presets
from tests.support import cxr_files, tiny_job

Capture = pytest.CaptureFixture[str]
COMMAND = [sys.executable, "-c", "import sys; from eval.cli.main import main; sys.exit(main())"]
TINY = [*tiny_job.SETTINGS, "rounds=1"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, and give the signal back to pytest."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    yield
    signal.signal(signal.SIGTERM, before)


BAD_INPUT = {
    "run attack=nope": "attack must be one of ",
    "run attack=no_module:X": "cannot import 'no_module'",
    "run data=nope": "data must be one of chestxray14, ",
    "run data.name=nope": "data.name must be one of chestxray14, ",
    "run data=mimic3": "mimic3 is not shipped: give data.path=FOLDER",
    "run data=chestxray14 model=cnn": "chestxray14 is not shipped: give data.path=FOLDER",
    "run data.path=/no/such/file": "data.path must be an existing file or folder",
    "run malicious=0.51": "malicious must be a share of the hospitals from 0 to 0.5",
    "run data.hospitals=400": "400 hospitals must have at least 32 rows each",
    "run data.rows=100": "20 hospitals must have at least 32 rows each",
    "run data.root_patients=100000": "root_patients must be in 1..",
    "run rouds=3": "unknown key rouds (did you mean rounds?)",
    "run rounds": "override 'rounds' is not of the form key=value\n",
    "run rounds=0": "rounds must be from 1 to 10000; got 0",
    "run rounds=abc": "rounds must be of type int; got 'abc'",
    "run =3": "override '=3' is not of the form key=value: it has no key",
    "run ++rounds=3": "override '++rounds=3': write key=value; + and ~ have no use here",
    "run train=3": "train must be of type TrainOptions; got 3",
    "run attacks=sign_flip": "attacks must be of type list[Any]; got 'sign_flip'",
    "run attack=sign_flp": "got 'sign_flp' (did you mean sign_flip?)",
    "run attack=sign_flip attack.params.strenght=3": "got 'strenght' (did you mean strength?)",
    "run defence=guardd": "got 'guardd' (did you mean guarded?)",
    "run defence.backend=mcp": "backend must be one of plain, fixed, mpc; got 'mcp' (did you mean",
    "run data=suport2": "got 'suport2' (did you mean support2?)",
    "run experiment=tabel2": "got 'tabel2' (did you mean table2?)",
    "run train.optimizer=sdg": "train.optimizer must be one of adam, sgd; got 'sdg' (did you mean",
    "run malicious=nan": "malicious must be a share of the hospitals from 0 to 0.5",
    "run data.alpha=nan": "data.alpha must be > 0 and finite; got nan",
    "run data.validators=3": "ledger.quorum must be at most data.validators, 3; got 4",
    "run data.path=.": "data.path must be a file; got '.': Is a directory",
    "run data.rows=3": "of 3 in all by data.validation_fraction (where data.rows is set, a larger",
    "run data.test_fraction=0.0001": "data.test_fraction must leave test rows of both classes",
    "run defence=median defence.backend=mpc defence.nodes=5": "nodes must be from 2 to 4; got 5",
    "run defence=median defence.backend=mpc defence.keys=no": "there is no no/authority.pem",
    "run defence=trimmed_mean defence.params.beta=0.6": "beta must be in [0, 0.5); got 0.6",
    "run defence=trimmed_mean defence.params.beta=x": "beta must be of type float, finite; got 'x'",
    "run defence=guarded defence.guard.steps=[x]": "steps must be of type list of float, finite",
    "run defence=median defence.rule={stages:3}": "stages must be a list; got 3",
    "run defence=median defence.rule={stages:[medan],max_abs:2}": "stage must be one of ",
    "run defence=median defence.rule={stages:[coordinate_median],max_abs:x}": "max_abs must be",
    "run model.params.hidden=3": "hidden must be widths >= 1, as a list; got 3",
    "run model.params.hidden=[a]": "hidden must be widths >= 1, as a list; got ['a']",
    "run model.params.hidden=[1.5]": "hidden must be widths >= 1, as a list; got [1.5]",
    "run model=cnn": "model 'cnn' with params {}: feature_shape must be (channels, height, width)",
    "run model.params.hiden=[3]": "must be one of hidden; got 'hiden' (did you mean hidden?)",
    "run attack=backdoor attack.params.columns=[999]": "columns must be within the 58 columns",
    "run defence=nope": "defence must be one of algorithm2, ",
    "run experiment=nope": "experiment must be one of default, ",
    "run name=../x": "name must be letters, digits",
    "run --out .": "run folder . exists already: choose another with --out",
    "run --out /proc/no/run data.rows=1200 data.hospitals=4": "cannot make run folder",
    "run --resume .": ". holds no run to resume",
    "run --resume . rounds=3": "--resume takes its settings from the run",
    "run --out /dev/null/x data.rows=1200 data.hospitals=4": "cannot make run folder",
    "audit none": "none is not the folder of a run",
    "report none": "cannot read none/summary.json: No such file or directory",
    "report /dev/null": "cannot read /dev/null/summary.json: Not a directory",
    "compare --rule medan": "got 'medan' (did you mean median?)",
    "compare --seed -1": "seed must be from 0 to 2**63 - 1; got -1",
    "keys .": ". exists: keys are never overwritten",
    "keys /dev/null/x": "cannot make folder /dev/null/x: Not a directory",
    "keys k --nodes 5": "nodes must be 2, 3 or 4; got 5",
    "keys k --days 99999999": "days must be from 1 to 36500; got 99999999",
    "bench mpc --rule mean medan": "got 'medan' (did you mean median?)",
    "bench mpc --dim 10 0": "--dim must be at least 1; got 0",
    "bench mpc --nodes 5": "--nodes must be 2, 3 or 4; got 5",
    "bench mpc --bits 64": "--bits must be from 17 to 31; got 64",
    "bench mpc --repeat 0": "--repeat must be at least 1; got 0",
    "bench mpc --latency-ms inf": "--latency-ms must be from 0 to 60000; got inf",
    "bench mpc --latency-ms 1 --mbit 0": "--mbit must be > 0 and finite; got 0.0",
    "bench mpc --figure x.png": "--figure needs several values",
    "bench mpc --dim 1 2 --figure no/x.png": "--figure must be a file .png in an existing folder",
    "bench training --hospitals 0": "--hospitals must be from 1 to 1000; got 0",
    "bench ledger --hospitals 0": "--hospitals must be 1 to 1024; got 0",
    "bench ledger --rounds 0": "--rounds must be at least 1; got 0",
    "bench ledger --rpc nowhere": "--rpc must be http://HOST:PORT or https://HOST:PORT",
    "compare --rule nope": "rule must be one of algorithm2, ",
    "compare --hospitals 0": "hospitals must be at least 1; got 0",
    "compare --dim 0": "dim must be at least 1; got 0",
    "compare --nodes 9": "nodes must be 2, 3 or 4; got 9",
    "paper --only table1 rounds=2 --out x": "settings must be before all options; got ['rounds=2']",
    "sweep rounds=1 --attacks alie data.rows=600 --out x": "settings must be before all options; "
    "got ['data.rows=600']",
    "matrix --rules krum rounds=2 --out x": "settings must be before all options; got ['rounds=2']",
    "paper mine.yaml --only table2 --out x": "settings must be single ones: parts have files of "
    "their own; got ['mine.yaml']",
    "run absent.yaml": "cannot read absent.yaml: No such file or directory",
    "run --quick experiment=fig4": "--quick is experiment=quick and goes with no other; got "
    "experiment=fig4",
    "run defence=deepsight": "rule deepsight is not among those that ship: it runs every",
    "run defence=medan": "or module:function of yours; got 'medan' (did you mean median?)",
    "matrix --attacks alie --defences median --out x": "--defences must be methods beside the "
    "rules, which --rules names; got ['median']",
    "prepare nope . x.npz": "data set must be one of chestxray14, ",
    "prepare mimic3 . x.npz": "mimic3: . lacks PATIENTS.csv, ADMISSIONS.csv, ICUSTAYS.csv",
    "prepare mimic3 . x.csv": "the file to write must end in .npz",
    "prepare mimic3 . no/x.npz": "the folder no does not exist",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_is_one_line_and_creates_nothing(
    line: str, tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(line.split()) == 2
    streams = capsys.readouterr()
    assert streams.err.startswith("secure-fl: ")
    assert BAD_INPUT[line] in streams.err
    assert streams.err.count("\n") == 1
    assert streams.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["", "bogus", "run --nope", "compare --dim x", "audit", "audit r --head 0x12"]
)
def test_usage_errors_exit_with_2(line: str, tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    assert stopped.value.code == 2
    assert "usage: secure-fl" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("runn", "did you mean run?"),
        ("bench mcp", "did you mean mpc?"),
        ("run --rsume x", "did you mean --resume?"),
        ("run --jobs 2", "(it is of secure-fl sweep, secure-fl paper, secure-fl matrix)"),
        ("run rounds=1 --out x seed=1", "seed=1 (settings come before options)"),
        ("bench ledger --mode merkel", "did you mean merkle?"),
    ],
)
def test_a_misspelt_command_or_option_is_two_lines_with_the_nearest_name(
    line: str, hint: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("\n") == 2


@pytest.mark.parametrize(
    "line",
    ["run model.params.hidden=[10000000000]", "compare --dim 99999999999999"],
)
def test_what_does_not_fit_in_memory_is_one_line(
    line: str, tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(line.split()) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"secure-fl: there is not enough memory for [\d,.]+ GiB .*\n", said)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where_an_error_came_from(capsys: Capture) -> None:
    assert cli.main(["run", "--debug", "rouds=3"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_list_names_everything_with_a_line_each(capsys: Capture) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {m[1]: m[2] for line in lines if (m := re.fullmatch(r"  (\w+) +(\S.*)", line))}
    expected = {*attacks.names(), *presets("defence"), *rule_names(), *data.names(), "mlp", "cnn"}
    assert set(listed) == expected | set(presets("experiment")) | set(SCHEMES)
    assert all(len(text) > 10 for text in listed.values())


@pytest.mark.parametrize("command", ["run", "list", "compare", "report", "audit", "prepare"])
def test_help_of_each_command(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: secure-fl {command}" in capsys.readouterr().out


def test_the_help_of_run_names_groups_and_its_examples_are_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    for group in ("data", "model", "experiment"):
        assert f"{group}=" + "|".join(choices(group)) in text.replace("\n", "")
    examples = re.findall(r"^  secure-fl run ?(.*?)(?:  .*)?$", text, re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        words = [w for w in example.split() if "=" in w and "my_module" not in w]
        load_config([w for w in words if not w.startswith("attack.params")])
    for key in re.findall(r"(?:^|  )([a-z_.]+=\S+)", text.split("any single setting")[1]):
        if "my_module" not in key and "strength" not in key:
            load_config([key])


def test_a_run_its_report_and_its_audit(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["run", *TINY, "--out", "job"]) == 0
    out = capsys.readouterr().out
    run = tmp_path / "job"
    assert f"head:   {job_head(run)}" in out
    assert "secure-fl audit job" in out
    assert {p.name for p in run.iterdir()} == {
        "cells",
        "explorer.html",
        "figures",
        "config.yaml",
        "environment.json",
        "summary.json",
        "manifest.json",
        "chain.jsonl",
        "report.html",
    }
    (run / "report.html").unlink()
    assert cli.main(["report", "job"]) == 0
    assert (run / "report.html").exists()
    assert cli.main(["audit", "job", "--verbose", "--head", job_head(run)]) == 0
    out = capsys.readouterr().out
    assert "PASSED" in out
    assert "Members (number: key, hash of the certificate)" in out
    assert cli.main(["run", "--resume", "job"]) == 0
    assert cli.main(["audit", "job", "--no-measure", "--head", "ab" * 32]) == 1
    assert "not the expected" in capsys.readouterr().out


def test_a_run_with_noise_prints_its_budget(capsys: Capture) -> None:
    noise = ["attacks=[]", "privacy.noise_sigma=0.4", "repeatable_secrets=true"]
    assert cli.main(["run", *TINY, *noise, "--out", "job"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    # Renyi orders: the least of 12.5 a + log(1e5) / (a - 1), at a = 2.
    assert "Privacy: epsilon 33.1 at delta 1e-05 after 1 rounds" in out
    assert "Repeatable secrets: shares, keys and noise follow from the seed" in out


def test_an_attack_from_the_current_folder_runs(tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(
        "from dataclasses import dataclass\n"
        "from attacks import Attack, attack\n\n\n"
        "@attack\n@dataclass(frozen=True)\n"
        "class Zero(Attack):\n"
        '    """Send nothing but zeros."""\n\n'
        '    knowledge = "own"\n    objective = "untargeted"\n\n'
        "    def craft(self, honest, own, view):\n        return 0 * own\n"
    )
    settings = [*TINY, "attack=my_own:Zero", "defence=robust"]
    assert cli.main(["run", *settings, "--out", "job"]) == 0
    assert {p.name for p in (tmp_path / "job" / "cells").iterdir()} == {
        "robust--none",
        "robust--Zero",
    }


@pytest.mark.slow
def test_compare_shows_the_same_result_from_three_backends(capsys: Capture) -> None:
    assert cli.main(["compare", "--rule", "median", "--hospitals", "5", "--dim", "3"]) == 0
    out = capsys.readouterr().out
    rows = {
        m[1]: m.groups()[1:]
        for m in re.finditer(r"(update\[\d\]|accepted)" + r"[^-+\d]+([-+]?[\d.]+)" * 3, out)
    }
    assert set(rows) == {"update[0]", "update[1]", "update[2]", "accepted"}
    for plain, fixed, mpc in rows.values():
        assert fixed == mpc
        assert abs(float(plain) - float(fixed)) < 1e-4


def test_prepare_makes_a_file_that_runs(tmp_path: Path, capsys: Capture) -> None:
    cxr_files.write(tmp_path / "nih", patients=90)
    assert cli.main(["prepare", "chestxray14", "nih", "cxr.npz"]) == 0
    assert "270 rows (90 no finding, 180 finding) in cxr.npz" in capsys.readouterr().out
    settings = [
        "data=chestxray14",
        "data.path=cxr.npz",
        "model=cnn",
        "defence=fedavg",
        "attacks=[]",
    ]
    small = ["data.hospitals=2", "data.validation_fraction=0.2", "rounds=1", "train.epochs=1"]
    assert cli.main(["run", *settings, *small, "--out", "job"]) == 0


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen([*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.wait(120)
    process.stderr.close()
    assert b"Traceback" not in errors
    assert errors == b""


def test_help_names_the_default_of_every_option_that_has_one(capsys: Capture) -> None:
    for line, told in (
        ("matrix", ("malicious hospitals (default: 0.3)", "seeds 0 to N-1 (default: 3)")),
        ("sweep", ("processes side by side (default: 2)", "of this machine (default); dask")),
        ("bench rules", ("--dim D [D ...] (default: 100000 1000000)",)),
    ):
        with pytest.raises(SystemExit):
            cli.main([*line.split(), "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert all(words in said for words in told)
