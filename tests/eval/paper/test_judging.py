"""`secure-fl paper --only defence`: figures per attack against goals, and the cells behind them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.cli.main import main
from eval.paper.cells import plan_parts
from eval.paper.defence import overall_sheets, task_sheets
from eval.paper.goals import TASKS, Goal, chosen_tasks
from eval.paper.judging import Case, cases, criteria, standing
from eval.paper.passages import by_task
from eval.paper.rows import JUDGED
from secure_fl.errors import ConfigError
from secure_fl.settings.config import load_config

GOAL = Goal(0.85, {0.3: 0.02, 0.4: 0.04}, 0.08)


def case(attack: str, share: float = 0.4, **figures: list[float]) -> Case:
    keys = ("gain", "success", "precision", "recall", "honest")
    return Case(attack, share, *(figures.get(key, []) for key in keys))


def row(method: str, attack: str, share: float, seed: int, **figures: float | None) -> dict:
    blank = dict.fromkeys(JUDGED)
    named = {"task": "support2-200", "data": "support2", "method": method, "label": method}
    at = {"attack": attack, "malicious": share, "seed": seed, "root_rows": 200}
    return blank | named | at | figures


def test_every_goal_is_held_to_the_case_that_is_farthest_from_it() -> None:
    found = [
        case("none", 0.0, gain=[0.9, 0.8], honest=[0.01, 0.02]),
        case("alie", 0.3, gain=[0.95], success=[0.01, 0.02], honest=[0.04]),
        case("backdoor", gain=[0.7, 0.9], success=[0.0, 0.1], precision=[1.0], recall=[0.8]),
        # Allowed two points more: 5 points keep to 6, and 9 to 10.
        case("full_information_backdoor", gain=[], success=[0.01, 0.09]),
    ]
    told = {each.name: (each.told, each.under, each.missed) for each in criteria(found, GOAL)}
    assert list(told.values()) == [
        ("0.85 (0.80)", "No attack", ""),
        ("0.80 (0.70)", "Backdoor, 40 %", "0.05"),
        ("+1.5 (2.0)", "ALIE, 30 %", ""),
        # Backdoor has 5 of 4 points; the other, with as many, lies within its own limit.
        ("+5.0 (10.0)", "Backdoor, 40 %", "1.0 points"),
        ("+10.0", "Backdoor, 40 %", "2.0 points"),
        ("4.0%", "ALIE, 30 %", "2.0 points"),
        ("1 of 3", "–", ""),
    ]


def test_an_attack_that_moves_the_model_is_to_be_found() -> None:
    moved = [case("backdoor", success=[0.05]), case("alie", success=[0.01])]
    found = case("dba", success=[0.09], precision=[0.9], recall=[0.9])
    *_, told = criteria([*moved, found], GOAL)
    assert (told.told, told.missed) == ("1 of 3", "1 of 3 neither found nor contained")


def test_what_was_not_measured_or_is_not_asked_is_neither_met_nor_missed() -> None:
    *_, gain, success, worst, _, _ = criteria([case("alie", 0.2, success=[0.5])], GOAL)
    assert (gain.told, gain.missed) == ("–", None)
    assert (success.told, success.goal, success.missed) == ("+50.0 (50.0)", "–", None)
    assert worst.missed == "42.0 points"
    assert [each.missed for each in criteria([], GOAL)] == [None] * 5


@pytest.mark.parametrize(
    ("success", "precision", "words"),
    [
        ([0.01], [0.95], "found"),
        ([0.01], [0.85], "contained, not found"),
        ([0.05], [0.95], "found, not contained"),
        ([-0.06, 0.09], [], "neither"),  # 1.5 points in the mean, and a seed beyond 8
    ],
)
def test_attackers_are_found_and_attacks_contained_by_themselves(
    success: list[float], precision: list[float], words: str
) -> None:
    given = case("backdoor", success=success, precision=precision, recall=[0.8])
    assert standing(given, GOAL) == words


def test_tables_tell_each_task_and_each_attack() -> None:
    rows = []
    for seed, gain in ((0, 0.9), (1, None)):
        rows += [row("fedavg", "none", 0.0, seed, auc=0.86), row("root_only", "none", 0.0, seed)]
        rows.append(row("public_only", "none", 0.0, seed, auc=0.845))
        rows.append(row("mine", "none", 0.0, seed, auc=0.85, gain_retained=gain, honest_named=0.0))
        rows.append(
            row("mine", "backdoor", 0.4, seed, attack_success=0.13, base_rate=0.1 - seed / 100)
            | {"gain_retained": gain, "detection_recall": 0.5, "honest_named": 0.1}
        )
    gains, successes, standings, missed = overall_sheets(rows)
    assert gains.body[0][1:-5] == ["2", "200", "0.860", "0.850", "–", "0.845"]
    assert gains.body[0][-5:] == [*["0.90 (0.90)"] * 2, "Backdoor, 40 %", "≥ 0.85", "0.33 (0.33)"]
    assert successes.body[0][1:] == ["+3.5 (4.0)", "+4.0", "≤ 4 (8)", "10.0%", "0 of 1"]
    assert missed.body[0][-1] == "honest named 8.0 points (Backdoor, 40 %)"
    assert standings.body == [[TASKS["support2-200"].title, "–", "Backdoor", "–", "–"]]
    asked, attacks = task_sheets(rows)
    assert "1 of 2 seeds told a gain" in asked.note
    assert attacks.body[1] == [
        *("Backdoor", "0.90 (0.90)", "+3.5 (4.0)", "–", "50.0%", "10.0%"),
        "contained, not found",
    ]
    assert len(cases(rows, "mine")[0].gain) == 1


def test_one_attack_is_told_task_by_task_and_share_by_share() -> None:
    def told(task: str, share: float, seed: int, success: float) -> dict:
        made = row("mine", "alie", share, seed, attack_success=success, base_rate=0.1)
        return made | {"task": task}

    rows = [row("mine", "none", 0.0, seed) for seed in (0, 1)]
    rows += [told("support2-200", 0.3, 0, 0.2), told("support2-200", 0.3, 1, 0.3)]
    rows += [told("support2-50", 0.4, 0, 0.4)]
    text = by_task(rows)
    assert "| Task | 30 % | 40 % |" in text
    assert f"| {TASKS['support2-200'].title} | +15.0 (20.0) | – |" in text
    assert f"| {TASKS['support2-50'].title} | – | +30.0 (30.0) |" in text
    assert "reach 10.0% in the mean" in text


def test_tasks_hold_and_are_those_of_the_data() -> None:
    assert chosen_tasks(None, ["digits"]) == ["digits-100", "digits-50"]
    assert chosen_tasks(["digits-50", "support2-50"], []) == ["support2-50", "digits-50"]
    with pytest.raises(ConfigError, match="did you mean lidc-cnn-50"):
        chosen_tasks(["lidc-cnn-5"], [])
    for name in ("support2-group-200", "lidc-cnn-50", "digits-100"):
        load_config([f"data={TASKS[name].data}", *TASKS[name].settings])


def test_a_method_is_attacked_and_what_it_is_told_beside_is_not(tmp_path: Path) -> None:
    small = ["data.rows=500", "data.hospitals=4", "data.root_patients=20", "train.epochs=1"]
    small += ["malicious=0.25", "rounds=1", "attacks=[sign_flip]", "defences=[clipped_mean]"]
    options = ["--only", "defence", "--tasks", "digits-50", "--seeds", "1", "--jobs", "1"]
    assert main(["paper", *small, *options, "--out", str(tmp_path / "made")]) == 0
    rows = json.loads((tmp_path / "made" / "defence.json").read_text())
    assert [tuple(each) for each in rows] == [JUDGED] * 5
    assert [(each["method"], each["attack"]) for each in rows] == [
        *(("fedavg", "none"), ("root_only", "none"), ("public_only", "none")),
        *(("clipped_mean", "none"), ("clipped_mean", "sign_flip")),
    ]
    assert {each["root_rows"] for each in rows} == {20}
    page = (tmp_path / "made" / "paper.html").read_text()
    assert TASKS["digits-50"].title in page
    assert (tmp_path / "made" / "figures" / "defence_digits-50_attacks.png").exists()
    assert main(["paper", *options, "--only", "table1", "--out", str(tmp_path / "none")]) == 2
    assert main(["paper", "--only", "defence", "--data", "npz", "--out", str(tmp_path / "n")]) == 2


def test_methods_play_in_the_clear_unless_mpc_is_asked_for() -> None:
    found = {}
    for mpc in (False, True):
        (wanted,) = plan_parts(["defence"], ["digits"], [0], ["attacks=[alie]"], mpc, ["digits-50"])
        defence = wanted.groups[-1].clean.config.defence
        found[mpc] = (defence.name, defence.backend, defence.ledger, defence.reputation)
        assert len(wanted.groups[-1].attacked) == 2  # at two shares
    assert found[False] == ("distilled", "plain", False, False)
    assert found[True] == ("distilled", "mpc", True, True)
