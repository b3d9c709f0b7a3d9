"""Any set of runs side by side: what pairs with what, and the figures against scipy's."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy import stats

from eval.cli.main import main
from eval.figures.comparison import draw_comparison
from eval.report.comparison_page import write_comparison
from eval.results.comparison import Comparison, compare
from eval.results.entries import Entry, read_entries
from eval.results.paired import holm, paired
from secure_fl.errors import InputError
from tests.support import tiny_job

DATA = "ab" * 32
# Accuracy by seed, of three rules.
MEAN = {0: 0.70, 1: 0.73, 2: 0.69, 3: 0.75}
MEDIAN = {0: 0.74, 1: 0.75, 2: 0.74, 3: 0.76}
KRUM = {1: 0.60, 2: 0.66, 3: 0.61, 4: 0.9}


def entry(defence: str, seed: int, accuracy: float, **more: Any) -> Entry:
    told: dict[str, Any] = {"folder": "a", "data": DATA, "attack": "none", "malicious": 0.0}
    told |= {"settings": {"rounds": "5"}, "measures": {"accuracy": accuracy}}
    return Entry(defence=defence, seed=seed, **(told | more))


def of(defence: str, values: dict[int, float], **more: Any) -> list[Entry]:
    return [entry(defence, seed, value, **more) for seed, value in values.items()]


def line(found: Comparison, method: str, circumstance: str = "No attack") -> Any:
    (one,) = [x for x in found.lines if (x.method, x.circumstance) == (method, circumstance)]
    return one


def test_equal_seeds_are_paired_and_tested_as_scipy_does() -> None:
    found = compare([*of("mean", MEAN), *of("median", MEDIAN), *of("krum", KRUM)])
    assert (found.against, found.tests) == ("mean", 2)
    median, krum = line(found, "median"), line(found, "krum")
    alone = stats.ttest_rel(list(MEDIAN.values()), list(MEAN.values()))
    common = stats.ttest_rel([KRUM[s] for s in (1, 2, 3)], [MEAN[s] for s in (1, 2, 3)])
    wanted = [alone.pvalue, common.pvalue]
    wanted = [min(1, 2 * p) if p == min(wanted) else max(p, 2 * min(wanted)) for p in wanted]
    assert [median.difference.p, krum.difference.p] == pytest.approx(wanted)
    assert (median.difference.seeds, krum.difference.seeds) == (4, 3)
    span = alone.confidence_interval(0.95)
    assert [median.difference.low, median.difference.high] == pytest.approx([span.low, span.high])
    assert median.difference.mean == pytest.approx(0.03)
    # A mean is over all seeds of its own, not over the common ones.
    assert krum.mean == pytest.approx(sum(KRUM.values()) / 4)
    assert line(found, "mean").difference is None
    signed = compare([*of("mean", MEAN), *of("median", MEDIAN)], test="wilcoxon")
    assert line(signed, "median").difference.p == 2 / 2**4  # all four differences of one sign


def test_a_test_that_would_say_nothing_is_not_made() -> None:
    assert paired({0: 1.0}, {1: 2.0}).reason == "no seed in common"
    assert paired({0: 1.0, 2: 1.0}, {0: 2.0}).reason == "1 seed in common"
    same = paired({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.4, 1: 0.5, 2: 0.6})
    assert (same.p, same.reason) == (None, "the same difference in every seed")
    assert same.mean == pytest.approx(0.3)
    assert math.isnan(paired({}, {}).mean)


def test_holm_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        values = rng.random(count) * 0.2
        order = np.sort(values)
        stepped = [
            max(min(1.0, (count - j) * order[j]) for j in range(i + 1)) for i in range(count)
        ]
        assert sorted(holm(values.tolist())) == pytest.approx(stepped)
    assert holm([0.04, 0.01]) == [0.04, 0.02]


def test_methods_differ_by_settings_and_circumstances_by_data_attack_and_share() -> None:
    slow, fast = (
        {"settings": {"train.lr": "0.1", "data.alpha": "1.0"}},
        {"settings": {"train.lr": "0.01", "data.alpha": "1.0"}},
    )
    uneven = {"settings": {"train.lr": "0.1", "data.alpha": "0.3"}}
    flipped = {"attack": "sign_flip", "malicious": 0.3}
    found = compare(
        [
            *of("mean", MEAN, **slow),
            *of("mean", MEDIAN, **fast),
            *of("mean", KRUM, **uneven),
            *of("mean", KRUM, **slow, **flipped),
        ]
    )
    assert found.methods == ("mean, train.lr=0.1", "mean, train.lr=0.01")
    assert found.circumstances == (
        "No attack, data.alpha=1.0",
        "No attack, data.alpha=0.3",
        "Sign flip, 30 % malicious, data.alpha=1.0",
    )
    (gap,) = [x.difference for x in found.lines if x.difference is not None]
    assert gap.mean == pytest.approx(0.03)


def test_other_data_are_never_paired() -> None:
    other = of("median", MEDIAN, folder="b", data="cd" * 32)
    found = compare([*of("mean", MEAN), *other])
    assert found.circumstances == ("No attack, data abababab", "No attack, data cdcdcdcd")
    assert all(each.difference is None for each in found.lines)


def test_a_folder_tells_runs_apart_that_settings_do_not() -> None:
    found = compare([*of("mean", MEAN), *of("mean", MEDIAN, folder="b")], against="mean, b")
    assert found.methods == ("mean, a", "mean, b")
    assert line(found, "mean, a").difference.mean == pytest.approx(-0.03)
    with pytest.raises(InputError, match="a must hold a run once; it holds No attack, mean, seed"):
        compare([*of("mean", MEAN), *of("mean", MEAN)])


def test_what_only_lets_runs_be_makes_no_method() -> None:
    """A sweep takes a rule with the least number of hospitals that a run has; a matrix names 1."""
    named, silent = (
        {"settings": {"defence.minimum_hospitals": least, "defence.params": "{}"}}
        for least in ("1", "null")
    )
    halves = [of("mean", {s: v for s, v in MEAN.items() if s % 2 == odd}) for odd in (0, 1)]
    found = compare(
        [
            *(entry("mean", e.seed, e.measures["accuracy"], **named) for e in halves[0]),
            *(entry("mean", e.seed, e.measures["accuracy"], **silent) for e in halves[1]),
            *of("median", MEDIAN, **named),
        ]
    )
    assert found.methods == ("mean", "median")
    assert line(found, "mean").values == MEAN
    # Where nothing else tells two runs of a folder apart, it does.
    swept = compare([*of("mean", MEAN, **named), *of("mean", MEDIAN, **silent)])
    told = "mean, defence.minimum_hospitals="
    assert swept.methods == (f"{told}1", f"{told}null")


def test_circumstances_tell_how_many_are_malicious() -> None:
    few = {"attack": "sign_flip", "malicious": 0.3}
    for hospitals, words in (("6", "1 of 6"), ("10", "30 %")):
        found = compare(of("mean", MEAN, settings={"data.hospitals": hospitals}, **few))
        assert found.circumstances == (f"Sign flip, {words} malicious",)


def write_sweep(folder: Path, rows: list[tuple[str, int, dict[str, Any]]]) -> Path:
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"data_sha256": [DATA]}))
    for defence, seed, measured in rows:
        named = {"defence": defence, "attack": "sign_flip", "malicious": 0.3, "seed": seed}
        name = hashlib.sha256(json.dumps([str(folder), named]).encode()).hexdigest()
        cell = {"cell": named, "measured": measured, "data_sha256": DATA}
        cell |= {"settings": {"rounds": 3, "seed": seed, "defences": [{"params": {}}]}}
        (folder / f"{name}.json").write_text(json.dumps(cell))
    return folder


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = write_sweep(
        tmp_path / "one", [("mean", s, {"accuracy": v, "auc": v}) for s, v in MEAN.items()]
    )
    rows = [("me|dian<b>", s, {"accuracy": v, "auc": v}) for s, v in MEDIAN.items()]
    two = write_sweep(tmp_path / "two", [*rows, ("krum", 0, {"refused": "too few rows"})])
    line = ["compare", str(one), str(two), "--out", str(tmp_path / "made")]
    assert main([*line, "--against", "mean", "--confidence", "0.9"]) == 0
    said = capsys.readouterr().out
    p = stats.ttest_rel(list(MEDIAN.values()), list(MEAN.values())).pvalue
    for words in ("Sign flip, 30 % malicious", "90 % interval", "+3.0", f"{p:.3f}", "0.750"):
        assert words in said
    assert "krum, Sign flip, 30 % malicious, seed 0: too few rows" in said
    text, page = ((tmp_path / "made" / f"comparison.{x}").read_text() for x in ("md", "html"))
    assert "me\\|dian<b>" in text
    assert "me|dian&lt;b&gt;" in page
    assert "<b>" not in page.partition("<main>")[2]
    told = json.loads((tmp_path / "made" / "comparison.json").read_text())
    assert told["folders"] == [str(one), str(two)]
    gaps = {each["measure"]: each["difference"] for each in told["lines"] if each["difference"]}
    assert gaps["accuracy"]["p"] == pytest.approx(p)
    png = (tmp_path / "made" / "comparison.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_runs_are_read_with_their_settings(tmp_path: Path) -> None:
    folder = tiny_job.run(tmp_path / "run", ["rounds=1", "defences=[fedavg]", "train.lr=0.01"])
    clean, attacked = read_entries(folder)
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    assert (clean.attack, clean.malicious, clean.seed) == ("none", 0.0, 0)
    assert (attacked.attack, attacked.malicious) == ("backdoor", 0.25)
    assert [each.measures["auc"] for each in (clean, attacked)] == [row["auc"] for row in rows]
    assert clean.data == json.loads((folder / "environment.json").read_text())["data_sha256"]
    told = attacked.settings
    assert (told["train.lr"], told["attack.params.fraction"]) == ("0.01", "0.3")
    assert told["defence.samples_cap"] == "2.0"
    assert not told.keys() & {"name", "seed", "malicious", "defence.timeout", "data.path"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["one", "--measures", "acuracy"], "measure must be one of: accuracy; got 'acuracy' (did"),
        (["one", "--against", "medan"], "against must be one of: mean; got 'medan' (did you mean"),
        (["one", "--test", "z"], "test must be one of t, wilcoxon; got 'z'"),
        (["one", "--confidence", "1"], "confidence must be between 0 and 1"),
        (["one", "one/"], "RUN must be distinct folders"),
        (["one", "--rule", "median"], "--rule: no option of `secure-fl compare` with folders"),
        (["--against", "median"], "--against: no option of `secure-fl compare` without folders"),
        (["absent"], "must be the folder of a run that is done, or of a sweep"),
        (["empty"], "must hold a run that is done; it holds none"),
        (["bad"], "must hold 'cell', with defence, attack, malicious, seed, and 'measured'"),
    ],
)
def test_refusals(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "one", [("mean", 0, {"accuracy": 0.5})])
    write_sweep(tmp_path / "empty", [])
    bad = write_sweep(tmp_path / "bad", [])
    (bad / f"{'0' * 64}.json").write_text('{"cell": {}, "measured": {}}')
    assert main(["compare", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_the_figure_has_the_intervals_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    plain = Axes.errorbar

    def noted(self: Axes, *args: Any, **more: Any) -> Any:
        drawn.append((args[0], more["xerr"]))
        return plain(self, *args, **more)

    monkeypatch.setattr(Axes, "errorbar", noted)
    wide = {0: 0.5, 1: 0.99, 2: 0.9}  # its interval would go beyond 1
    one = entry("median", 0, 0.7)
    found = compare([*of("mean", wide), one])
    draw_comparison(found, {measure: measure for measure in found.measures})
    told = line(found, "mean")
    assert told.high == 1.0
    ((mean,), arms), (_, none) = drawn
    assert [mean - arms[0][0], mean + arms[1][0]] == pytest.approx([told.low, told.high])
    assert none == [[0.0], [0.0]]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    found = compare([*of("mean", MEAN), *of("median", MEDIAN)])
    for _ in range(2):  # its own is written anew, and what a killed process left
        assert len(write_comparison(found, ["a"], tmp_path / "made")) == 4
        (tmp_path / "made" / "comparison.html.partial").write_text("<ht")
    (tmp_path / "made" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"the folder of a comparison; .*made holds notes.txt"):
        write_comparison(found, ["a"], tmp_path / "made")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="--out must be a folder"):
        write_comparison(found, ["a"], tmp_path / "file")
