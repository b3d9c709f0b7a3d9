"""Tables: the right number in the right place, and nothing invented where data are missing."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from eval import tables
from secure_fl.errors import InputError
from tests.support import sample_run


def cell(sheet: tables.Sheet, line: str, column: str) -> str:
    """Text of one cell of a sheet, found by its names."""
    place = sheet.header.index(column)
    return next(row[place] for row in sheet.body if row[0] == line)


def find(rows: list[dict[str, Any]], defence: str, attack: str, share: float) -> dict[str, Any]:
    return next(
        r
        for r in rows
        if (r["defence"], r["attack"], r["malicious_fraction"]) == (defence, attack, share)
    )


def test_attack_sheet_shows_excess_at_the_headline_fraction() -> None:
    rows = sample_run.rows((0.1, 0.3))
    find(rows, "robust", "backdoor", 0.1)["attack_success_excess"] = 0.111
    find(rows, "robust", "backdoor", 0.3)["attack_success_excess"] = 0.333
    sheet = tables.attack_sheet(rows)
    assert "30 %" in sheet.title
    assert cell(sheet, "+ robust aggregation", "Backdoor") == "+33.3"
    assert sheet.heat[2][sheet.header.index("Backdoor") - 1] == pytest.approx(0.333)
    assert [line[0] for line in sheet.body] == [name[1] for name in sample_run.DEFENCES]


def test_quality_sheet_gives_the_gain_over_root_only() -> None:
    rows = sample_run.rows()
    next(r for r in rows if r["defence"] == "root_only")["accuracy"] = 0.80
    find(rows, "guarded", "none", 0.0)["accuracy"] = 0.832
    sheet = tables.quality_sheet(rows)
    assert cell(sheet, "Full framework (guarded)", "Gain over root only") == "+3.2"
    assert cell(sheet, "Root only", "Gain over root only") == tables.DASH
    assert sheet.body[-1][0] == "Root only"
    without = tables.quality_sheet([r for r in rows if r["defence"] != "root_only"])
    assert "Gain over root only" not in without.header


def test_degradation_is_clean_less_attacked_accuracy() -> None:
    rows = sample_run.rows()
    find(rows, "fedavg", "none", 0.0)["accuracy"] = 0.82
    find(rows, "fedavg", "sign_flip", 0.3)["accuracy"] = 0.62
    find(rows, "fedavg", "random_noise", 0.3)["accuracy"] = 0.83
    sheet = tables.degradation_sheet(rows)
    assert cell(sheet, "FedAvg", "Sign flip") == "+20.0"
    assert cell(sheet, "FedAvg", "Random noise") == "−1.0"
    assert min(sheet.heat[0]) == 0.0  # a gain is not shaded


def test_recall_at_even_odds_stands_beside_that_without_attack() -> None:
    rows = sample_run.rows((0.1, 0.3))
    find(rows, "fedavg", "none", 0.0)["recall_at_even_odds"] = 0.63
    find(rows, "fedavg", "label_flip", 0.1)["recall_at_even_odds"] = 0.5
    find(rows, "fedavg", "label_flip", 0.3)["recall_at_even_odds"] = 0.19
    sheet = tables.even_odds_sheet(rows)
    assert [cell(sheet, "FedAvg", name) for name in ("No attack", "Label flip", "Backdoor")] == [
        *("63.0%", "19.0%", tables.DASH)
    ]
    assert [line[0] for line in sheet.body] == ["FedAvg"]  # of runs that do not tell it, nothing
    assert tables.even_odds_sheet([find(rows, "fedavg", "none", 0.0)]).body == []


def test_cost_divides_totals_by_rounds() -> None:
    rows = sample_run.rows(attacks=("none", "backdoor"))
    for row, rounds, total in zip(
        [r for r in rows if r["defence"] == "guarded"],
        (10, 30),
        (4_000_000, 8_000_000),
        strict=True,
    ):
        row.update(rounds_run=rounds, mpc_bytes_online=total, mpc_seconds_online=rounds * 0.25)
    sheet = tables.cost_sheet(rows)
    assert cell(sheet, "Full framework (guarded)", "Online MB") == "0.3"  # 12 MB over 40 rounds
    assert cell(sheet, "Full framework (guarded)", "MPC online s") == "0.25"
    assert cell(sheet, "FedAvg", "MPC online s") == tables.DASH
    assert cell(sheet, "FedAvg", "Ledger ms") == tables.DASH


def test_many_attacks_become_lines() -> None:
    rows = sample_run.rows()
    for index in range(3):
        extra = {**find(rows, "robust", "backdoor", 0.3), "attack": f"extra_{index}"}
        rows.append({**extra, "attack_success_excess": 0.25 + index / 100, "accuracy": 0.7})
    for sheet in (tables.attack_sheet(rows), tables.degradation_sheet(rows)):
        assert sheet.header == ["Attack", *(name[1] for name in sample_run.DEFENCES)]
        assert len(sheet.body) == len(sheet.heat) == 9
    sheet = tables.attack_sheet(rows)
    assert cell(sheet, "Extra 1", "+ robust aggregation") == "+26.0"
    assert cell(sheet, "Extra 1", "FedAvg") == tables.DASH
    assert cell(sheet, "Backdoor", "FedAvg") == "+81.0"
    place = [line[0] for line in sheet.body].index("Extra 2")
    assert sheet.heat[place] == pytest.approx([0, 0, 0.27, 0, 0])


def test_paper_sheet_sets_rates_over_the_clean_model_beside_the_papers() -> None:
    rows = sample_run.rows()
    sheet = tables.paper_sheet(rows)
    assert sheet is not None
    assert "other data" in sheet.title
    framework = next(line for line in sheet.body if line[0] == "Full framework (paper)")
    place = sheet.header.index("Backdoor")
    excess = find(rows, "framework", "backdoor", 0.3)["attack_success_excess"]
    assert framework[place : place + 2] == [tables.percent(excess), "17.0%"]
    assert framework[-2:] == ["311", "320"]
    assert "Full framework (guarded)" not in [line[0] for line in sheet.body]
    assert tables.paper_sheet([{**row, "paper_method": None} for row in rows]) is None


def test_several_seeds_are_averaged() -> None:
    rows = sample_run.rows(attacks=("none", "backdoor"))
    again = [{**row, "seed": 1, "accuracy": row["accuracy"] - 0.1} for row in rows]
    sheet = tables.quality_sheet(rows + again)
    assert cell(sheet, "FedAvg", "Accuracy") == "77.8%"


def test_missing_and_null_values_become_dashes() -> None:
    bare = [{"defence": "mean", "attack": "none", "malicious_fraction": 0.0, "accuracy": 0.5}]
    assert tables.quality_sheet(bare).body == [["Mean", "50.0%", *[tables.DASH] * 4]]
    assert tables.cells_sheet(bare).body[0].count(tables.DASH) == 16
    assert [sheet.title for sheet in tables.sheets(bare)] == [
        "Quality without attack",
        "Cost of a round",
    ]


@pytest.mark.parametrize("key", ["defence", "attack", "malicious_fraction", "accuracy"])
def test_a_row_without_a_required_key_is_refused(key: str) -> None:
    rows = sample_run.rows()
    del rows[3][key]
    with pytest.raises(InputError, match=rf"rows\[3\].*{key}"):
        tables.sheets(rows)


@pytest.mark.parametrize("width", [80, 140])
def test_console_tables_keep_every_name_and_number(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(tables.console_table(sample_run.rows(), paper=False))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    for _, label, _, _, _ in sample_run.DEFENCES:
        assert shown.count(label) == 3
    assert "+81.0" in shown
    assert all(len(line) <= width for line in shown.splitlines())


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_console_loses_and_folds_no_number(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(tables.console_table(sample_run.rows()), crop=False)
    shown = console.file.getvalue().split()  # type: ignore[attr-defined]
    for sheet in tables.sheets(sample_run.rows(), paper=False):
        assert {text for line in sheet.body for text in line[1:]} <= set(shown)


def test_a_note_is_as_wide_as_the_console_under_a_narrow_table() -> None:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(tables.console_table(sample_run.rows(attacks=("none", "backdoor"))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\nPercentage points above the rate of the clean model of the same method; " in shown


def test_markup_in_names_is_shown_not_obeyed() -> None:
    rows = [{**row, "label": "[red]x[/red] | y"} for row in sample_run.rows(attacks=("none",))]
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(tables.console_table(rows))
    assert "[red]x[/red] | y" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "x[/red] \\| y |" in tables.markdown_table(rows)


def test_markdown_lines_have_as_many_cells_as_their_heading() -> None:
    text = tables.markdown_table(sample_run.rows())
    width = 0
    for line in text.splitlines():
        if not line.startswith("|"):
            width = 0
        elif width == 0:
            width = line.count("|")
        else:
            assert line.count("|") == width


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "0.0"), (-0.0004, "0.0"), (0.1234, "+12.3"), (-0.012, "−1.2"), (None, "–")],
)
def test_points(value: float | None, text: str) -> None:
    assert tables.points(value) == text


def test_megabytes_and_percent() -> None:
    assert tables.megabytes(369) == "0.000369"
    assert tables.megabytes(12_345_678) == "12.3"
    assert tables.megabytes(2_345_678_901) == "2,346"
    assert tables.percent(0.8281) == "82.8%"
    assert tables.decimals(0.87049) == "0.870"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (tables.percent(-0.002), "−0.2%"),
        (tables.percent(0.8281), "82.8%"),
        (tables.seconds(0.0004), "<0.01"),
        (tables.seconds(1.005), "1.00"),
    ],
)
def test_small_and_negative_numbers(shown: str, text: str) -> None:
    assert shown == text


def test_the_privacy_budget_is_the_largest_of_all_cells() -> None:
    rows = sample_run.rows()
    assert tables.privacy_note(rows) == ""
    for place, row in enumerate(rows):
        row |= {"noise_sigma": 0.1, "epsilon": 3.0 + place / 100}
    assert tables.privacy_note(rows).startswith("Privacy: epsilon 3.35 at delta 1e-05 after 8 ")
    assert "means" not in tables.privacy_note(rows)
    rows[1] |= {"epsilon_aggregate": 1.25, "label": "FedAvg"}
    assert "no more than the opened means: 1.25 under FedAvg" in tables.privacy_note(rows)
    rows[4]["epsilon"] = None  # beyond any number
    assert tables.privacy_note(rows).startswith("Privacy: epsilon infinite at delta")


def test_repeatable_secrets_are_said_below_the_first_table() -> None:
    rows = sample_run.rows()
    assert "epeatable" not in tables.quality_sheet(rows).note
    rows[3]["repeatable_secrets"] = True
    assert "Repeatable secrets: " in tables.quality_sheet(rows).note


def test_detection_is_averaged_over_the_attacks_of_each_method() -> None:
    rows = sample_run.rows((0.1, 0.3), ("none", "backdoor", "sign_flip"))
    assert tables.detection_sheet(rows).body == []  # nobody names anybody
    for row in rows:
        row |= dict.fromkeys(("detection_precision", "detection_recall", "honest_named"))
    for attack, share, values in (
        ("none", 0.0, (0.0, None, 0.9)),
        ("backdoor", 0.1, (0.9, 0.9, 0.9)),
        ("backdoor", 0.3, (0.5, 1.0, 0.25)),
        ("sign_flip", 0.3, (None, 0.0, 0.0)),
    ):
        row = find(rows, "guarded", attack, share)
        row |= zip(("detection_precision", "detection_recall", "honest_named"), values, strict=True)
    sheet = tables.detection_sheet(rows)
    assert "30 %" in sheet.title
    named = [cell(sheet, "Full framework (guarded)", name) for name in sheet.header[1:]]
    assert named == ["50.0%", "50.0%", "12.5%"]
    assert cell(sheet, "FedAvg", "Naming recall") == tables.DASH
    whole = tables.cells_sheet([find(rows, "guarded", "backdoor", 0.3)])
    assert whole.body[0][-5:-2] == ["50.0%", "100.0%", "25.0%"]


def test_how_many_are_malicious_where_that_is_another_share_than_was_asked_for() -> None:
    rows = [
        {"defence": "mean", "attack": attack, "malicious_fraction": share, "accuracy": 0.5}
        | {"hospitals": 6, "attack_success_excess": 0.1}
        for attack, share in (("none", 0.0), ("x", 0.3))
    ]
    titles = [sheet(rows).title for sheet in (tables.attack_sheet, tables.detection_sheet)]
    assert all("1 of 6 hospitals malicious" in title for title in titles)
    assert [line[2] for line in tables.cells_sheet(rows).body] == [tables.DASH, "1 of 6"]
    exact = [row | {"hospitals": 10} for row in rows]
    assert "30 % of hospitals malicious" in tables.attack_sheet(exact).title
    assert tables.cells_sheet(exact).body[1][2] == "30%"
