"""`secure-fl matrix`: every attack against every rule, resumed where it was left."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import secure_fl
from eval.cli.main import main
from eval.figures.matrix import draw_matrix
from eval.jobs.matrix import bare_rule
from eval.jobs.run_lock import only_writer
from eval.report.matrix_page import write_matrix
from eval.results.matrix import MEASURES, averaged, from_csv, joined, to_csv, worst_lines
from secure_fl.errors import InputError
from secure_fl.settings.config import load_config
from secure_fl.simulation.prepare import prepare

SETTINGS = ["data=digits", "data.rows=400", "data.hospitals=4", "rounds=1", "train.epochs=1"]
CHOSEN = ["--attacks", "sign_flip", "label_flip", "--rules", "mean", "krum", "cosine_median"]


def run(folder: Path, *more: str) -> int:
    return main(["matrix", *SETTINGS, *CHOSEN, "--jobs", "1", "--out", str(folder), *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of two attacks and three rules, two seeds."""
    place = tmp_path_factory.mktemp("matrix") / "made"
    assert run(place, "--seeds", "2", "--malicious", "0.25") == 0
    return place


def test_every_cell_is_what_a_run_of_its_own_gives(folder: Path) -> None:
    rows = json.loads((folder / "matrix.json").read_text())
    told = [(row["defence"], row["attack"], row["seed"]) for row in rows]
    assert sorted(told) == sorted(
        (rule, attack, seed)
        for rule in ("mean", "krum", "cosine_median")
        for attack in ("none", "sign_flip", "label_flip")
        for seed in (0, 1)
    )
    (row,) = (row for row in rows if told[rows.index(row)] == ("mean", "sign_flip", 1))
    federation = prepare(load_config(SETTINGS))
    alone = secure_fl.run(
        federation,
        attack="sign_flip",
        defence=bare_rule("mean"),
        malicious=0.25,
        rounds=1,
        seed=1,
        train={"epochs": 1},
    )
    assert row["model_sha256"] == alone.closing["model_sha256"]
    screened = [row for row in rows if row["defence"] == "cosine_median" and row["malicious"]]
    assert all(row["detection_recall"] is not None for row in screened)
    assert all(row["detection_recall"] is None for row in rows if row["defence"] == "mean")


def test_the_same_command_reads_what_is_there(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = (folder / "matrix.json").read_bytes()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*[0-9a-f].json")}
    (lost, *_) = sorted(name for name in kept if re.fullmatch(r"[0-9a-f]{64}\.json", name))
    held = json.loads((folder / lost).read_text())
    (folder / lost).unlink()  # as if killed before
    assert run(folder, "--seeds", "2", "--malicious", "0.25") == 0
    assert "[18/18]" in capsys.readouterr().out
    again = json.loads((folder / lost).read_text())
    for one in (again, held):
        del one["measured"]["seconds"]
    assert again == held
    for name, time in kept.items():
        assert name == lost or (folder / name).stat().st_mtime_ns == time
    (after, was) = (
        [row | {"seconds": 0} for row in json.loads(data)]
        for data in ((folder / "matrix.json").read_bytes(), before)
    )
    assert after == was


def test_two_at_once_are_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with only_writer(folder):
        assert run(folder, "--seeds", "2", "--malicious", "0.25") == 2
    assert "is writing into" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_page_and_maps_show_all(folder: Path) -> None:
    page = (folder / "matrix.html").read_text()
    for word in ("mean", "krum", "cosine_median", "Sign flip", "Label flip", "25 % of the"):
        assert word in page
    for measure in MEASURES[:2]:
        assert (folder / f"matrix_{measure.key}.png").read_bytes().startswith(b"\x89PNG")


def rows_of(values: dict[tuple[str, str], list[float]]) -> list[dict]:
    return [
        {
            "defence": rule,
            "attack": attack,
            "malicious": 0.0 if attack == "none" else 0.3,
            "seed": seed,
            "accuracy": value,
        }
        for (rule, attack), listed in values.items()
        for seed, value in enumerate(listed)
    ]


def test_means_and_worst_cases() -> None:
    rows = rows_of(
        {
            ("a", "x"): [0.5, 0.7],
            ("a", "none"): [0.9, 0.8],
            ("a", "y"): [0.2, 0.3],
            ("b", "none"): [0.9, 0.9],
            ("b", "x"): [0.4, 0.4],
        }
    )
    rows.append({"defence": "b", "attack": "y", "malicious": 0.3, "seed": 0, "refused": "<why>"})
    made = averaged(rows)
    accuracy = MEASURES[0]
    assert made.attacks[0] == "none"
    assert made.value("accuracy", "a", "x") == pytest.approx(0.6)
    assert np.isnan(made.value("accuracy", "b", "y"))
    assert made.worst(accuracy) == {"a": "y"}  # of b's one attack there is no worst
    assert made.refused == {("b", "y"): "<why>"}
    assert (made.seeds, made.malicious) == (2, 0.3)
    assert list(draw_matrix(made)) == ["accuracy"]


def test_the_folder_is_that_of_one_matrix(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What would leave out some of its runs is refused by their names; nothing is run or written.

    That more rules, attacks or seeds go on there is `test_the_same_command_reads_what_is_there` and
    `test_sweep_settings.test_the_same_command_with_more_values_runs_what_is_missing`.
    """
    place = Path(shutil.copytree(folder, tmp_path / "made"))
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.name != ".lock"}
    end = ["--jobs", "1", "--malicious", "0.25", "--out", str(place)]
    fewer = ["--attacks", "sign_flip", "--rules", "mean", "--seeds", "2"]
    assert main(["matrix", *SETTINGS, *fewer, *end]) == 2
    told = capsys.readouterr().err
    assert "holds 18 runs, and a matrix that goes on there must name them all" in told
    assert "leaves out 14: " in told
    assert re.search(r"(krum|cosine_median), \w+, 0\.\d+, seed [01]", told)
    assert main(["matrix", *SETTINGS, "rounds=2", *CHOSEN, "--seeds", "2", *end]) == 2
    assert "leaves out 18: " in (told := capsys.readouterr().err)
    assert "seed 0 with rounds=1" in told
    line = ["--attacks", "sign_flip", "--defences", "mean", *end]
    assert main(["sweep", *SETTINGS, *line]) == 2
    assert "must be a folder of its own: it is of a matrix, not of a sweep" in (
        capsys.readouterr().err
    )
    assert before == {
        path.name: path.read_bytes() for path in place.iterdir() if path.name != ".lock"
    }


def test_a_rule_that_names_nobody_has_named_no_attacker() -> None:
    """One attack's rows refused at the door do not make it a rule that finds attackers."""
    rows = rows_of({(rule, x): [0.9] for rule in ("mean", "krum") for x in ("none", "x", "y")})
    door, found, missed = (
        {"detection_precision": p, "detection_recall": r}
        for p, r in ((1.0, 1.0), (0.5, 0.8), (None, 0.0))
    )
    for row in rows:
        if row["attack"] == "x":
            row |= door if row["defence"] == "mean" else found
        elif row["attack"] == "y" and row["defence"] == "krum":
            row |= missed
    made = averaged(rows)
    _, _, precision, recall = MEASURES
    assert (made.mean_named(precision, "mean"), made.mean_named(recall, "mean")) == (1.0, 0.5)
    assert (made.mean_named(precision, "krum"), made.mean_named(recall, "krum")) == (0.5, 0.4)
    silent = averaged(rows_of({("mean", "none"): [0.9], ("mean", "x"): [0.9]}))
    assert np.isnan(silent.mean_named(recall, "mean"))


def test_a_matrix_is_read_back_from_its_table() -> None:
    rows = rows_of({("a", "none"): [0.9, 0.7], ("a", "x"): [0.5, 0.25]})
    rows[2]["detection_recall"] = 1 / 3
    rows.append({"defence": "a", "attack": "y", "malicious": 0.3, "seed": 0, "refused": 'a "," b'})
    made = averaged(rows)
    text = to_csv(made)
    assert text.splitlines()[2] == "a,x,0.3,2,0.375000,,,0.333333,"
    again = from_csv(text)
    assert (again.rules, again.attacks, again.refused) == (made.rules, made.attacks, made.refused)
    assert (again.seeds, again.malicious) == (2, 0.3)
    for key, values in made.values.items():
        np.testing.assert_allclose(again.values[key], values, atol=1e-6)
    assert worst_lines(again) == worst_lines(made)
    for bad in ("rule,attack\n", text.replace("0.375000", "?"), text.splitlines()[0] + "\n"):
        with pytest.raises(InputError, match="a matrix"):
            from_csv(bad)


def test_matrices_of_some_attacks_each_make_one() -> None:
    given = {("b", "none"): [0.9, 0.7], ("b", "y"): [0.5, 0.25]}
    first = averaged(rows_of(given))
    rows = rows_of({("b", "none"): [0.1, 0.1], ("b", "x"): [0.4, 0.2], ("a", "x"): [0.3, 0.5]})
    rows += [
        {"defence": "a", "attack": "y", "malicious": 0.3, "seed": seed, "refused": "why"}
        for seed in (0, 1)
    ]
    made = joined([first, averaged(rows)])
    assert (made.rules, made.attacks, made.seeds) == (["a", "b"], ["none", "x", "y"], 2)
    expected = [[np.nan, 0.4, np.nan], [0.8, 0.3, 0.375]]  # b without attack as in the first
    np.testing.assert_allclose(made.values["accuracy"], expected)
    assert made.refused == {("a", "y"): "why"}
    with pytest.raises(InputError, match=r"a matrix must be of 2 seeds .*; got '1 and 0.3'"):
        joined([first, averaged(rows_of({("a", "none"): [0.9], ("a", "x"): [0.5]}))])


def test_a_reason_is_text_in_the_page(tmp_path: Path) -> None:
    rows = rows_of({("a", "none"): [0.9], ("a", "x"): [0.5]})
    rows.append({"defence": "a", "attack": "y", "malicious": 0.3, "seed": 0, "refused": "<b>why"})
    page = write_matrix(averaged(rows), tmp_path).read_text()
    assert "not run: &lt;b&gt;why" in page
    assert "<b>why" not in page


def test_what_cannot_be_is_said_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    chosen = ["--rules", "mean", "--attacks", "withheld_shares", "sign_flip"]
    folder = tmp_path / "few"
    arguments = ["--seeds", "1", "--jobs", "1", "--malicious", "0.25", "--out", str(folder)]
    assert main(["matrix", *SETTINGS, *chosen, *arguments]) == 0
    rows = {row["attack"]: row for row in json.loads((folder / "matrix.json").read_text())}
    assert "accuracy" in rows["sign_flip"]
    assert "ledger" in rows["withheld_shares"]["refused"]
    assert "mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--seeds", "0"], "--seeds must be from 1 to 1000; got 0"),
        (["--jobs", "0"], "jobs must be from 1 to 256; got 0"),
        (["--malicious", "0.6"], "malicious must be in (0, 0.5]; got 0.6"),
        (["--rules", "mean", "mean"], "defences must be a list without repeated names"),
        (["--rules", "krmu"], "did you mean krum?"),
        (["--attacks", "sign_flpi"], "did you mean sign_flip?"),
    ],
)
def test_refusals(
    arguments: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "none"
    assert run(folder, *arguments) == 2
    assert match in capsys.readouterr().err
    assert not folder.exists()


def test_worst_cases_on_the_page_and_links_that_lead_somewhere(tmp_path: Path) -> None:
    rows = rows_of(
        {
            ("a", "none"): [0.9],
            ("a", "x"): [0.6],
            ("a", "sign_flip"): [0.3],
            ("b", "none"): [0.8],
            ("b", "x"): [0.5],
        }
    )
    for row in rows:
        row["attack_success_excess"] = None if row["attack"] == "none" else 1 - row["accuracy"]
        row["detection_precision"] = 0.75 if row["defence"] == "a" else None
        row["detection_recall"] = 0.0 if row["defence"] == "a" else None
    rows.append(
        {"defence": "b", "attack": "sign_flip", "malicious": 0.3, "seed": 0, "refused": "<b>few"}
    )
    made = averaged(rows)
    assert worst_lines(made) == [
        ["a", "90.0", "30.0", "Sign flip", "70.0", "Sign flip", "75.0", "0.0"],
        ["b", "80.0", "50.0", "X", "50.0", "X", "–", "–"],  # the only one that was run
    ]
    alike = averaged(rows_of({("a", "none"): [0.9], ("a", "x"): [0.5], ("a", "y"): [0.5]}))
    assert worst_lines(alike)[0][:4] == ["a", "90.0", "50.0", "all alike"]
    page = write_matrix(made, tmp_path).read_text()
    assert "2 attacks against 2 rules" in page
    assert page.count("<strong") == 4  # accuracy and success, on the rule's and the attack's side
    assert "not run: &lt;b&gt;few" in page
    assert "<script" not in page
    linked = set(re.findall(r'href="#([\w-]+)"', page))
    assert linked == set(re.findall(r'id="([\w-]+)"', page))
    assert len(linked) == 4 + 2 + 3
    assert page.count('prefers-color-scheme: dark)" srcset') == 4
