"""Figures: drawn only from data, deterministic, and showing the numbers that the run holds."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from eval.figures import figures, plotting
from eval.report.wording import READING
from eval.results import style
from eval.results.records import Cell, Run, load_run
from tests.support import sample_run


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    attacks = ("none", "label_flip", "backdoor")
    rows = sample_run.rows((0.1, 0.3), attacks)
    return load_run(sample_run.write(tmp_path_factory.mktemp("runs") / "swept", rows))


def test_every_figure_is_drawn_and_has_a_reading_aid(swept: Run) -> None:
    drawn = figures.draw_all(swept)
    assert list(drawn) == list(figures.FIGURES) == list(READING)
    for png in drawn.values():
        image = Image.open(io.BytesIO(png))
        assert image.width == round(plotting.WIDTH * plotting.DPI)
        pixels = np.asarray(image.convert("L"), dtype=float)
        assert pixels.std() > 10  # more than an empty sheet
        assert "Software" not in image.info


def test_shares_are_written_as_percent_without_idle_digits() -> None:
    axis = matplotlib.figure.Figure().subplots().xaxis
    plotting.percent_axis(axis)
    told = axis.get_major_formatter().format_ticks([-0.05, 0.0, 0.77, 0.775, 1.0])
    assert told == ["−5%", "0%", "77%", "77.5%", "100%"]


def test_same_run_gives_the_same_bytes(swept: Run) -> None:
    assert figures.attack_success(swept) == figures.attack_success(swept)
    assert figures.round_time(swept) == figures.round_time(swept)
    assert figures.round_time(swept) != figures.round_time(swept, dark=True)


def test_drawing_leaves_global_settings_alone(swept: Run) -> None:
    before = dict(matplotlib.rcParams)
    figures.traffic(swept, dark=True)
    assert dict(matplotlib.rcParams) == before


def test_without_data_nothing_is_drawn() -> None:
    row = {"defence": "mean", "attack": "none", "malicious_fraction": 0.0, "accuracy": 0.5}
    bare = Run("bare", {}, {}, {}, ())
    assert figures.draw_all(bare) == {}
    assert figures.draw_all(Run("clean", {}, {}, {}, (Cell(row),))) == {}


class Recorder:
    """Collects what is drawn through one method of matplotlib's axes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        original = getattr(matplotlib.axes.Axes, method)

        def spy(axes: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls.append((args, kwargs))
            return original(axes, *args, **kwargs)

        monkeypatch.setattr(matplotlib.axes.Axes, method, spy)


def test_bars_stack_the_excess_on_the_clean_base(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = Recorder(monkeypatch, "barh")
    texts = Recorder(monkeypatch, "text")
    figures.attack_success(swept)
    attacked = [r for r in swept.rows if r["attack"] != "none" and r["malicious_fraction"] == 0.3]
    tops = [kw["left"] + args[1] for args, kw in bars.calls if "left" in kw]
    bases = [args[1] for args, kw in bars.calls if "left" not in kw]
    assert sorted(tops) == pytest.approx(sorted(r["attack_success_raw"] for r in attacked))
    assert sorted(bases) == pytest.approx(sorted(r["attack_success_base"] for r in attacked))
    shown = {args[2] for args, _ in texts.calls}
    assert {f"{100 * r['attack_success_excess']:+.1f}" for r in attacked} <= shown


def test_an_attack_below_the_base_is_labelled_with_a_minus(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {**sample_run.rows(attacks=("backdoor",))[1]}
    row.update(attack_success_raw=0.08, attack_success_base=0.11, attack_success_excess=-0.03)
    texts = Recorder(monkeypatch, "text")
    assert figures.attack_success(Run("x", {}, {}, {}, (Cell(row),))) is not None
    assert "−3.0" in {args[2] for args, _ in texts.calls}


def test_round_time_is_the_mean_of_the_rounds_that_ran(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {**sample_run.rows(attacks=("none",))[1]}
    rounds: list[dict[str, Any]] = [
        {"round": 0, "test_accuracy": 0.5},
        {"round": 1, "seconds": {"train": 1.0, "ledger": 0.5, "clip": 0.25}},
        {"round": 2, "seconds": {"train": 3.0, "ledger": 0.5, "clip": 0.75}},
    ]
    bars = Recorder(monkeypatch, "barh")
    assert figures.round_time(Run("x", {}, {}, {}, (Cell(row, rounds),))) is not None
    widths = [args[1] for args, _ in bars.calls if args[1] > 0]
    assert widths == pytest.approx([2.0, 0.5, 0.5])  # train, ledger, everything else


def test_the_guarded_servers_share_of_a_round_has_its_own_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {**sample_run.rows(attacks=("none",))[1]}
    rounds = [{"round": 1, "seconds": {"train": 1.0, "server": 0.5, "share": 0.25}}]
    bars = Recorder(monkeypatch, "barh")
    assert figures.round_time(Run("x", {}, {}, {}, (Cell(row, rounds),))) is not None
    drawn = {kw["color"]: args[1] for args, kw in bars.calls if args[1] > 0}
    assert sorted(drawn.values()) == pytest.approx([0.25, 0.5, 1.0])
    assert len(drawn) == 3


def test_shares_of_malicious_hospitals_are_marked_where_they_were_run(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Recorder(monkeypatch, "set_xticks")
    assert figures.success_by_fraction(swept) is not None
    assert [args[0] for args, _ in ticks.calls] == [[0.1, 0.3]] * 2


def test_reputation_parts_honest_from_malicious(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Recorder(monkeypatch, "plot")
    figures.reputation_over_rounds(swept)
    medians = [(kw["color"], args[1]) for args, kw in lines.calls if np.ndim(args[1]) == 1]
    honest = [y[-1] for colour, y in medians if colour == style.HONEST_COLOUR]
    malicious = [y[-1] for colour, y in medians if colour == style.MALICIOUS_COLOUR]
    assert len(honest) == len(malicious) == 4  # two defences, two attacks
    assert min(honest) > 0.8 > 0.1 > max(malicious)


def test_reputations_that_do_not_move_are_drawn_beside_those_that_do(
    swept: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = style.headline_fraction(swept.rows)
    named = {"defence": "guarded", "attack": "backdoor", "malicious_fraction": share}
    (still,) = (cell for cell in swept.cells if named.items() <= cell.row.items())
    for record in still.rounds:
        if record.get("reputation"):
            record["reputation"] = [1.0] * len(record["reputation"])
    lines = Recorder(monkeypatch, "plot")
    figures.reputation_over_rounds(swept)
    flat = [args[1] for args, _ in lines.calls if np.ndim(args[1]) == 1 and np.ptp(args[1]) == 0]
    assert [list(y) for y in flat] == [[1.0] * len(flat[0])] * 2  # the honest, the malicious


@pytest.mark.parametrize(
    ("count", "most", "columns"), [(1, 4, 1), (4, 4, 4), (6, 4, 3), (7, 4, 4), (6, 3, 3), (4, 3, 2)]
)
def test_panels_leave_few_places_empty(count: int, most: int, columns: int) -> None:
    assert plotting.panel_columns(count, most) == columns


def _luminance(colour: str) -> float:
    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(colour[i : i + 2]) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_stands_out_on_light_and_dark_paper() -> None:
    rows = [
        {"defence": f"d{i}", "attack": "none", "malicious_fraction": 0.0, "accuracy": 0.5}
        for i in range(7)
    ]
    for look in style.looks(rows):
        for paper in ("#FFFFFF", "#16191D"):
            pair = sorted((_luminance(look.colour), _luminance(paper)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) > 2.0, (look.colour, paper)


def test_headline_fraction_is_the_commonest_then_the_larger() -> None:
    def rows(*shares: float) -> list[dict[str, Any]]:
        return [{"attack": "backdoor", "malicious_fraction": share} for share in shares]

    assert style.headline_fraction(rows(0.1, 0.3, 0.3)) == 0.3
    assert style.headline_fraction(rows(0.1, 0.4)) == 0.4
    assert style.headline_fraction(rows(0.1, 0.1, 0.4)) == 0.1
    assert style.headline_fraction([{"attack": "none", "malicious_fraction": 0.0}]) is None


def test_lines_begin_with_the_first_round_and_keep_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {**sample_run.rows(attacks=("none",))[1]}
    rounds = [{"round": n, "test_accuracy": v} for n, v in enumerate((0.5, 0.0, 0.8))]
    lines = Recorder(monkeypatch, "plot")
    assert figures.accuracy_over_rounds(Run("x", {}, {}, {}, (Cell(row, rounds),))) is not None
    assert [args[:2] for args, _ in lines.calls] == [([1.0, 2.0], [0.0, 0.8])]
