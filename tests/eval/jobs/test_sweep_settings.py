"""`secure-fl sweep`: any setting with several values, one table, gone on where it was cut off."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import secure_fl
from eval.cli.main import main
from eval.jobs.run_lock import only_writer
from eval.jobs.sweep import plan_sweep
from eval.results.comparison import compare
from eval.results.entries import read_entries
from secure_fl.errors import ConfigError, InputError
from secure_fl.settings.overrides import swept_settings

SETTINGS = ["data=digits", "data.rows=400", "data.hospitals=4", "rounds=1", "train.epochs=1"]
CHOSEN = ["data.alpha=0.3,1.0", "--attacks", "sign_flip", "--defences", "mean", "median"]


def run(folder: Path, *more: str) -> int:
    line = ["--jobs", "1", "--malicious", "0.25", "--out", str(folder), *more]
    return main(["sweep", *SETTINGS, *CHOSEN, *line])


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data divisions, two rules, one attack, one seed."""
    place = tmp_path_factory.mktemp("sweep") / "made"
    assert run(place) == 0
    return place


def test_the_table_has_every_combination_once(folder: Path) -> None:
    rows = table(folder)
    told = [(row["data.alpha"], row["defence"], row["attack"], row["malicious"]) for row in rows]
    assert told == [
        (alpha, defence, attack, share)
        for alpha in ("0.3", "1.0")
        for defence in ("mean", "median")
        for attack, share in (("none", "0.0"), ("sign_flip", "0.25"))
    ]


def test_its_runs_are_compared_by_the_settings_that_differ(folder: Path) -> None:
    found = compare(read_entries(folder), ["accuracy"], against="median")
    assert found.methods == ("mean", "median")
    assert found.circumstances == tuple(
        f"{attack}, data.alpha={alpha}"
        for attack in ("No attack", "Sign flip, 25 % malicious")
        for alpha in ("0.3", "1.0")
    )
    told = {(each.circumstance, each.method): each.mean for each in found.lines}
    for row in table(folder):
        attack = "No attack" if row["attack"] == "none" else "Sign flip, 25 % malicious"
        circumstance = f"{attack}, data.alpha={row['data.alpha']}"
        assert told[circumstance, row["defence"]] == float(row["accuracy"])


def test_a_row_is_what_the_run_of_its_settings_gives(folder: Path) -> None:
    """The seed and the division of the data are those of `secure-fl run`."""
    alone = secure_fl.run(
        [*SETTINGS, "data.alpha=1.0", "attack=sign_flip", "defence=median", "malicious=0.25"]
    )
    (row,) = (
        row
        for row in table(folder)
        if (row["data.alpha"], row["defence"], row["attack"]) == ("1.0", "median", "sign_flip")
    )
    assert row["model_sha256"] == alone.closing["model_sha256"]
    assert float(row["accuracy"]) >= 0


def test_the_same_command_with_more_values_runs_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.jobs.single import Planned

    before, played = table(folder), []
    measure = Planned.measure

    def counted(self: Any, *given: Any) -> Any:
        played.append(self.config.experiment.data.alpha)
        return measure(self, *given)

    monkeypatch.setattr(Planned, "measure", counted)
    assert run(folder) == 0
    assert (played, table(folder)) == ([], before)
    found = secure_fl.sweep(
        [*SETTINGS, "data.alpha=1.0,0.1,0.3", "defence=mean,median"],
        ["sign_flip"],
        malicious=0.25,
        folder=folder,
    )
    assert played == [0.1] * 4
    assert {(row["data.alpha"], row["defence"]) for row in found.rows} == {
        (alpha, defence) for alpha in (0.1, 0.3, 1.0) for defence in ("mean", "median")
    }
    capsys.readouterr()
    lines = found.intervals("accuracy")
    assert list(lines.columns[:4]) == ["defence", "attack", "malicious", "data.alpha"]
    assert len(lines) == 12


def test_two_at_once_are_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / ".lock").touch()
    with only_writer(folder):
        assert run(folder) == 2
    assert "is writing into" in capsys.readouterr().err


def test_a_run_that_fails_is_told_in_its_row(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = ["--attacks", "sign_flip", "--malicious", "0.25", "--lenient", "--jobs", "1"]
    settings = [*SETTINGS, "data.hospitals=5", "defence=krum", "defence.params.num_malicious=1,4"]
    settings += ["defence.minimum_hospitals=1", "defence.colluders=0"]
    status = main(["sweep", *settings, *line, "--out", str(tmp_path / "few")])
    rows = table(tmp_path / "few")
    assert [row["defence.params.num_malicious"] for row in rows if row["attack"] == "none"] == [
        "1",
        "4",
    ]
    assert status == 1
    failed = [row for row in rows if row["refused"]]
    assert {row["defence.params.num_malicious"] for row in failed} == {"4"}
    assert "runs failed: the table says why" in capsys.readouterr().err


def test_seeds_by_number_leave_the_data_and_by_setting_divide_them() -> None:
    few = [*SETTINGS, "defence=mean", "attacks=[]"]
    by_number, _ = plan_sweep([*few, "seed=5"], seeds=[0, 1])
    assert [group.seed for group in by_number.groups] == [0, 1]
    assert by_number.groups[0].federation is by_number.groups[1].federation
    by_setting, swept = plan_sweep([*few, "seed=0,1"])
    assert [(group.seed, group.told) for group in by_setting.groups] == [(0, {}), (1, {})]
    first, second = (group.federation.data.hospitals[0].x for group in by_setting.groups)
    assert first.shape != second.shape or not first.equal(second)
    assert swept == ()


@pytest.mark.parametrize(
    ("line", "single", "swept"),
    [
        ("rounds=2", ["rounds=2"], {}),
        ("rounds=1,2", [], {"rounds": ["rounds=1", "rounds=2"]}),
        ("malicious=[0.1,0.2],0.3", [], {"malicious": ["malicious=[0.1,0.2]", "malicious=0.3"]}),
        ("data.path='a,b'", ["data.path='a,b'"], {}),
        ("data.path=/a b,/c", [], {"data.path": ["data.path=/a b", "data.path=/c"]}),
        ("rounds=glob(*)", ["rounds=glob(*)"], {}),
        ("=,", ["=,"], {}),
    ],
)
def test_a_comma_parts_values(line: str, single: list[str], swept: dict[str, list[str]]) -> None:
    assert swept_settings([line]) == (single, swept)


@pytest.mark.parametrize(
    ("settings", "given", "reason"),
    [
        (["rouds=1,2"], {}, "did you mean rounds"),
        (["rounds=1,2", "rounds=3,4"], {}, "rounds is swept twice"),
        (["rounds=1,0"], {}, "rounds must be from 1 to 10000; got 0"),
        (["attack=backdoor"], {"attacks": ["sign_flip"]}, "attacks must be said once, not by att"),
        (["malicious=0.1,0.2"], {"malicious": 0.3}, "malicious must be said once"),
        (["seed=0,1"], {"seeds": [0, 1]}, "seeds must be said once, not by seed= too"),
        ([], {"attacks": [object()]}, "attacks must be a list of names with settings"),
        ([], {"rounds": 3}, "rounds go with a Federation"),
        ([], {"attacks": ["sign_flip"], "malicious": 0.0}, "malicious must be above 0 with att"),
        ("rounds=1", {}, "federation must be a Federation or a list of settings; got str"),
    ],
)
def test_sweeps_of_settings_that_cannot_be(settings: Any, given: Any, reason: str) -> None:
    with pytest.raises((InputError, ConfigError), match=reason):
        plan_sweep(settings if isinstance(settings, str) else [*SETTINGS, *settings], **given)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--seeds", "0"], "--seeds must be from 1 to 1000; got 0"),
        (["--jobs", "0"], "jobs must be from 1 to 256; got 0"),
        (["--attacks", "sign_flpi"], "did you mean sign_flip?"),
    ],
)
def test_refusals(
    arguments: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tmp_path / "none", *arguments) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_folder_of_other_data_is_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    held = json.loads((folder / "sweep.json").read_text())
    assert len(held["data_sha256"]) == 1
    assert main(["sweep", "data=support2", "defence=mean", "--out", str(folder)]) == 2
    assert "of a sweep on these data" in capsys.readouterr().err


def test_who_listens_to_no_hospital_is_attacked_by_nobody() -> None:
    defences = ["mean", "root_only", "public_only"]
    plan, _ = plan_sweep(SETTINGS, ["sign_flip"], defences, [0.25], [0])
    told = [(group.defence, [each[0] for each in group.attacked]) for group in plan.groups]
    assert told == [("mean", ["sign_flip"]), ("root_only", []), ("public_only", [])]
