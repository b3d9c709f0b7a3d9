"""`secure-fl paper`: each cell is a run of its own, run once, kept, and told with all columns."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    confusion_matrix,
    multilabel_confusion_matrix,
    roc_auc_score,
)

import secure_fl
from eval.cli.main import main
from eval.jobs.watched import confusion, told
from eval.paper.cells import merged, plan_parts
from eval.paper.data_files import by_round
from eval.paper.dynamics import alarms_of, suspension_sheet
from eval.paper.latex import latex
from eval.paper.parts import PARTS, chosen
from eval.paper.rows import COLUMNS, compared, looks_of, mean_text, published
from eval.paper.sections import SAYS
from eval.tables.sheet import Sheet
from secure_fl.errors import ConfigError
from secure_fl.settings.config import load_config
from secure_fl.simulation.prepare import prepare

SMALL = ["data.rows=400", "data.hospitals=4", "rounds=2", "train.epochs=1", "malicious=0.25"]
FEW = ["attacks=[backdoor]", "defences=[fedavg,paper]"]
PART_NAMES = ["table1", "table2", "reputation"]


def run(folder: Path, *more: str) -> int:
    settings = [word for word in more if "=" in word]
    options = [word for word in more if "=" not in word]
    command = ["paper", *SMALL, *FEW, *settings, "--data", "digits", "--jobs", "1"]
    return main([*command, "--out", str(folder), *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts that share their cells: two methods and the root alone, one seed."""
    place = tmp_path_factory.mktemp("paper") / "made"
    assert run(place, "--only", *PART_NAMES, "--seeds", "1", "--first-seed", "1") == 0
    return place


def test_table2_has_every_column_and_what_a_run_of_its_own_gives(folder: Path) -> None:
    rows = json.loads((folder / "table2.json").read_text())
    assert [tuple(row) for row in rows] == [COLUMNS] * 5
    told_cells = [(row["method"], row["attack"], row["malicious"], row["seed"]) for row in rows]
    assert told_cells == [
        *(("fedavg", "none", 0.0, 1), ("fedavg", "backdoor", 0.25, 1)),
        *(("paper", "none", 0.0, 1), ("paper", "backdoor", 0.25, 1)),
        ("root_only", "none", 0.0, 1),
    ]
    settings = ["data=digits", *SMALL, "defence=fedavg", "attack=backdoor", "seed=1"]
    alone = secure_fl.run(settings)
    federation = prepare(load_config(settings))
    test = federation.data.test
    shares = federation.logits(alone.model, test.x).softmax(dim=1).numpy()
    expected = roc_auc_score(test.y, shares, multi_class="ovr")
    assert rows[1]["auc"] == pytest.approx(expected, abs=1e-4)
    assert rows[0]["auc"] < rows[4]["auc"]  # two rounds teach less than the root's own training
    assert rows[1]["gain_retained"] is None
    assert rows[2]["detection_recall"] is None  # nobody is malicious
    assert rows[3]["detection_recall"] is not None


def test_cells_are_run_once_however_many_parts_show_them(folder: Path) -> None:
    kept = [path for path in (folder / "cells").glob("*/*.json") if len(path.stem) == 64]
    assert len(kept) == 5
    page = (folder / "paper.html").read_text()
    for name in PART_NAMES:
        assert PARTS[name].title.partition(":")[0] in page
    assert "<script" not in page
    linked = set(re.findall(r'href="#([\w-]+)"', page))
    assert linked == {*PART_NAMES, "repeat"}


def test_the_same_command_runs_nothing_again_and_draws_the_same(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*.json")}
    table = (folder / "table2.json").read_bytes()
    assert run(folder, "--only", "table2", "--seeds", "1", "--first-seed", "1") == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").rglob("*.json")} == before
    assert (folder / "table2.json").read_bytes() == table
    printed = capsys.readouterr().out
    assert "[5/5]" in printed
    assert "Table 2. Clean accuracy and attack success beside the paper" in printed
    assert "the folder has reputation too: name all with --only for one page of them" in printed


def test_tables_are_there_in_three_forms(folder: Path) -> None:
    markdown, tex = (folder / "paper.md").read_text(), (folder / "paper.tex").read_text()
    page = (folder / "paper.html").read_text()
    for text in (markdown, tex, page):
        assert "Confusion" not in text  # of ten classes there are none
        assert "Federated gain retained" in text
    assert tex.count("\\begin{tabular}") == tex.count("\\end{tabular}") == markdown.count("|---|")
    assert f"## {PARTS['table2'].title}\n\n**The paper:** {SAYS['table2']}" in markdown
    shown = re.findall(r"^!\[[^]]+\]\((.+)\)$", markdown, re.MULTILINE)
    drawn = set((folder / "figures").glob("table2_*.png"))
    assert drawn
    assert drawn <= {folder / place for place in shown} <= set((folder / "figures").glob("*.png"))


def test_the_numbers_behind_curves_are_there_round_by_round(folder: Path) -> None:
    with (folder / "reputation.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    cells = [json.loads(path.read_text()) for path in (folder / "cells").glob("*/*.json")]
    named = {"attack": "backdoor", "defence": "paper"}
    (own,) = (cell["measured"] for cell in cells if named.items() <= cell.get("cell", {}).items())
    assert len(own["malicious_seats"]) == 1
    told_lines = [line for line in lines if line["attack"] == "backdoor"]
    assert [line["round"] for line in told_lines] == ["1", "2"]
    for line, seats in zip(told_lines, own["reputation"], strict=True):
        bad = seats.pop(own["malicious_seats"][0])
        assert float(line["reputation_malicious"]) == pytest.approx(bad, rel=1e-5)
        assert float(line["reputation_honest"]) == pytest.approx(np.median(seats), rel=1e-5)
    clean = [line for line in lines if line["attack"] == "none"]
    assert {line["reputation_malicious"] for line in clean} == {""}


def test_a_series_has_a_line_a_round_and_nothing_where_it_has_no_value() -> None:
    named = {"data": "d", "defence": "m", "attack": "a", "malicious": 0.3, "seed": 2}
    history = {"drift": [0.12345678, 0.5], "attack_success": [None, 1.0]}
    assert by_round([named | {"history": history}], ("drift", "attack_success")) == (
        "data,method,attack,malicious,seed,round,drift,attack_success\n"
        "d,m,a,0.3,2,1,0.123457,\nd,m,a,0.3,2,2,0.5,1\n"
    )


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("notes.txt", "cells/fedavg--none/cell.json"):
        file = tmp_path / name.replace("/", "-") / name
        file.parent.mkdir(parents=True)
        file.write_text("mine")
        place = tmp_path / name.replace("/", "-")
        assert run(place, "--only", "table2", "--seeds", "1") == 2
        assert "must be new or" in capsys.readouterr().err
        assert [path for path in place.rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--only", "tabel1"], "did you mean table1?"),
        (["--seeds", "0"], "--seeds must be from 1 to 1000; got 0"),
        (["seed=3"], "settings must be without seed= and data="),
        (["roudns=3"], "did you mean rounds?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    arguments: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tmp_path / "none", *arguments) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_parts_come_in_the_paper_s_order() -> None:
    assert chosen(["fig5", "table2"]) == ["table2", "fig5"]
    assert chosen(None) == list(PARTS)
    with pytest.raises(ConfigError, match="--only"):
        chosen(["figure"])


def test_late_attacks_are_other_cells_than_early_ones_and_clean_runs_the_same() -> None:
    wanted = plan_parts(["table2", "drift"], ["digits"], [0], [*SMALL, *FEW])
    early, late = (want.groups for want in wanted)
    groups = merged([*early, *late])
    assert [len(group.attacked) for group in groups] == [2, 2, 0]
    starts = [run.config.attack.schedule.start for _, _, run in groups[0].attacked]
    assert starts == [1, 2]
    # Under MPC in deployment: in the clear here, with the integers of MPC.
    assert [group.clean.config.defence.backend for group in groups] == ["plain", "fixed", "plain"]


def test_methods_look_alike_in_every_figure() -> None:
    few = looks_of([{"defence": name} for name in ("guarded", "fedavg")])
    many = looks_of([{"defence": name} for name in ("fedavg", "robust", "paper", "guarded")])
    assert [look.name for look in few] == ["fedavg", "guarded"]
    assert {look.name: look.colour for look in few}.items() <= {
        look.name: look.colour for look in many
    }.items()


def test_means_are_told_with_the_half_width_of_the_interval() -> None:
    # Of 1, 2, 3: s = 1, t(0.975, 2) = 4.303, half = 4.303 / sqrt(3).
    assert mean_text([0.01, 0.02, 0.03]) == "2.0 ±2.5"
    assert mean_text([-0.1], sign=True) == "−10.0"
    assert mean_text([0.0001], sign=True) == "0.0"
    assert mean_text([]) == "–"


def test_confusion_matrix_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(3, size=50), rng.integers(3, size=50)
    assert confusion(truth, predicted, 3) == confusion_matrix(truth, predicted).tolist()
    truth, predicted = rng.integers(2, size=(20, 4)), rng.integers(2, size=(20, 4))
    each = multilabel_confusion_matrix(truth, predicted)  # (L, 2, 2)
    assert confusion(truth, predicted, 2) == each.sum(axis=0).tolist()


def test_a_row_tells_its_rounds() -> None:
    blank = {"mpc": {"rounds": 2}, "ledger_ms": 1.5, "accepted": [True] * 3, "loss": 0.5}
    rows = [
        {"round": 0},
        {"round": 1, "suspended": [], "reputation": [1.0, 0.5, 1.0], "seconds": {"train": 1.0}},
        {"round": 2, "suspended": [1], "reputation": [1.0, 0.2, 1.0], "seconds": {"train": 2.0}},
        {"round": 3, "suspended": [1], "reputation": [1.0, 0.2, 1.0], "seconds": {"train": None}},
    ]
    found = told([rows[0], *(row | blank for row in rows[1:])], (1,))
    assert found["suspended_in"] == [None, 2, None]
    assert found["steps"] == {"train": 3.0}
    assert found["traffic"] == {"rounds": 6}
    assert found["ledger_ms"] == 4.5
    assert found["history"]["loss"] == [0.5] * 3
    assert found["reputation"][1] == [1.0, 0.2, 1.0]


def test_alarms_are_counted_as_by_hand() -> None:
    def row(drifts: list[float]) -> dict:
        return {"history": {"drift": drifts}, "rounds_wanted": 8}

    steady = [1.0] * 8
    late = [1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0]  # round 5, the first under attack
    early = [1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0]
    # One alarm of two in a round under attack; of eight such rounds one has an alarm.
    assert alarms_of([row(late), row(early)], [row(steady)]) == [
        *("50.0", "12.5", "20.0", "1 of 2", "1", "0.0")
    ]
    assert alarms_of([row(steady)], [row(early)]) == ["0.0", "0.0", "0.0", "0 of 1", "–", "12.5"]


def test_suspensions_are_counted_by_seat() -> None:
    row = {
        "defence": "paper",
        "label": "P",
        "attack": "backdoor",
        "malicious_seats": [0, 1],
        "reputation": [[0.5, 1.0, 1.0], [0.1, 1.0, 0.7]],
        "suspended_in": [2, None, None],
    }
    (line,) = suspension_sheet([row]).body
    assert line == ["P, backdoor", "0.55", "1 of 2", "2", "0.70", "0 of 1", "–"]


def test_rows_are_compared_within_their_seed() -> None:
    def row(defence: str, attack: str, seed: int, accuracy: float, auc: float) -> dict:
        blank = dict.fromkeys(("attack_success_raw", "attack_success_base"))
        blank |= dict.fromkeys(("detection_precision", "detection_recall"))
        named = {"data": "a", "defence": defence, "attack": attack, "seed": seed, "malicious": 0.3}
        return named | {"accuracy": accuracy, "auc": auc} | blank

    rows = [
        row("fedavg", "none", 0, 0.9, 0.90),
        row("fedavg", "none", 1, 0.8, 0.805),
        row("paper", "none", 0, 0.85, 0.85),
        row("paper", "x", 0, 0.75, 0.82),
        row("paper", "x", 1, 0.7, 0.8),
        row("root_only", "none", 0, 0.8, 0.80),
        row("root_only", "none", 1, 0.8, 0.80),
    ]
    made = compared(rows)
    assert [each["degradation"] for each in made] == [
        *(None, None, None),
        pytest.approx(0.1),
        *(None, None, None),  # the clean run of seed 1 is not there
    ]
    kept = [each["gain_retained"] for each in published(made)]
    assert kept[3] == pytest.approx(0.2)
    assert kept[4] is None  # at seed 1 FedAvg gains half a point


def test_latex_escapes_what_it_reads_otherwise() -> None:
    text = latex(Sheet("A & B", ["x_y", "50 %"], [["{a}", "1 ±2"]], "#1"))
    assert "\\caption{A \\& B. \\#1}" in text
    assert "x\\_y & 50 \\% \\\\" in text
    assert "\\{a\\} & 1 $\\pm$2 \\\\" in text
