"""README.md and docs/results.md hold what the command writes from the data in docs/results."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from eval.metrics.drift import drift_alarms
from eval.paper.docs import DOCUMENTS, main, rendered
from eval.paper.mpc_costs import mpc_figures, rule_lines
from eval.paper.passages import command_block
from eval.paper.records import (
    REPORT,
    RESULTS,
    RUNS,
    mpc,
    table,
    take_mpc,
    take_report,
    take_run,
    take_table,
)
from secure_fl.errors import InputError
from secure_fl.settings.config import load_config, save_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The documents and their data, to be changed."""
    (tmp_path / "docs").mkdir()
    for name in DOCUMENTS:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / RESULTS, tmp_path / RESULTS)
    return tmp_path


def test_the_documents_are_what_the_command_writes() -> None:
    for name, text in rendered(ROOT).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"run python -m {main.__module__}"
        assert "<!-- " in text


def test_a_number_changed_by_hand_is_written_back(copy: Path) -> None:
    page = copy / "README.md"
    before = page.read_text(encoding="utf-8")
    found = re.search(r"<!-- main:begin -->\n.*?\| FedAvg \| (\S+) \|", before, re.S)
    assert found is not None
    begin, end = found.span(1)
    page.write_text(before[:begin] + "99.9%" + before[end:], encoding="utf-8")
    assert main(["--root", str(copy)]) == 0
    assert page.read_text(encoding="utf-8") == before


def test_numbers_are_those_of_the_rows() -> None:
    rows = json.loads((ROOT / RESULTS / RUNS).read_text())["main"]["rows"]
    own = {row["attack"]: row for row in rows if row["defence"] == "guarded"}
    clean = {row["defence"]: row for row in rows if row["attack"] == "none"}
    root = clean["root_only"]["auc"]
    kept = (own["none"]["auc"] - root) / (clean["fedavg"]["auc"] - root)
    told = [
        f"{100 * own['none']['accuracy']:.1f}%",
        f"{own['none']['auc']:.3f}",
        f"{100 * kept:.0f}%",
        f"{100 * own['label_flip']['attack_success_excess']:+.1f}",
    ]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\| Full framework \(guarded\) \|.*$", text, re.MULTILINE)
    assert line.split(" | ")[1:5] == told


def test_numbers_over_seeds_are_means_of_the_rows() -> None:
    rows = json.loads((ROOT / RESULTS / "table2.json").read_text())
    table = (ROOT / "docs/results.md").read_text(encoding="utf-8").partition("table2:begin")[2]
    lines = re.findall(r"^\| FedAvg \|.*$", table.partition("table2:end")[0], re.MULTILINE)
    for data, line in zip(("support2", "digits", "lidc_nodules"), lines, strict=True):
        found = [
            100 * (row["attack_success"] - row["base_rate"])
            for row in rows
            if (row["data"], row["method"], row["attack"]) == (data, "fedavg", "backdoor")
        ]
        assert len(found) == len({row["seed"] for row in rows if row["data"] == data}) >= 2
        assert line.split(" | ")[-2].split(" ")[0] == f"{fmean(found):+.1f}"


def test_figures_within_sentences_are_those_of_the_rows() -> None:
    rows = json.loads((ROOT / RESULTS / "defence.json").read_text())
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")

    def told(name: str) -> str:
        (found,) = set(re.findall(rf"<!--{name}-->([^<]*)<!--/-->", text))
        return found

    few = [row for row in rows if row["task"] == "support2-few" and row["method"] == "distilled"]
    success = {
        key: [row["attack_success"] - row["base_rate"] for row in few if _case(row) == key]
        for key in {_case(row) for row in few if row["attack"] != "none"}
    }
    assert len(success) > 40
    assert told("defence-most-few") == f"{100 * max(map(fmean, success.values())):.1f}"
    assert told("defence-worst-few") == f"{100 * max(map(max, success.values())):.1f}"
    digits = {}
    for task in ("digits-100", "digits-50"):
        clean = [row for row in rows if (row["task"], row["attack"]) == (task, "none")]
        auc = {
            method: fmean(row["auc"] for row in clean if row["method"] == method)
            for method in ("fedavg", "distilled", "public_only")
        }
        digits[task] = [auc[name] - auc["public_only"] for name in ("fedavg", "distilled")]
    for name, place in (("fedavg-beyond", 0), ("beyond", 1)):
        ends = sorted(gaps[place] for gaps in digits.values())
        written = " to ".join(dict.fromkeys(f"{end:.4f}".replace("-", "−") for end in ends))
        assert told(f"defence-{name}-digits") == written.replace("−0.0000", "0.0000")
    named = {
        task: max(
            fmean(row["honest_named"] for row in rows if row["method"] == "distilled" and key(row))
            for key in _circumstances(rows, task)
        )
        for task in dict.fromkeys(row["task"] for row in rows if row["data"] == "lidc_nodules")
    }
    low, high = min(named.values()), max(named.values())
    assert told("defence-honest-lidc") == f"{100 * low:.1f} to {100 * high:.1f} %"


def _case(row: dict) -> tuple:
    return row["attack"], row["malicious"]


def _circumstances(rows: list[dict], task: str) -> list[Callable[[dict], bool]]:
    """What tells rows of each attack and share on a task."""
    keys = {
        (row["task"], row["attack"], row["malicious"])
        for row in rows
        if row["task"] == task and row["method"] == "distilled"
    }
    return [
        lambda row, key=key: (row["task"], row["attack"], row["malicious"]) == key
        for key in sorted(keys)
    ]


def test_what_is_told_of_the_report_is_in_its_numbers() -> None:
    def lines(name: str, **named: str) -> list[dict[str, str]]:
        with (ROOT / REPORT / name).open(newline="") as file:
            return [line for line in csv.DictReader(file) if named.items() <= line.items()]

    calm = {"method": "paper", "attack": "none"}
    trust = [float(line["reputation_honest"]) for line in lines("reputation.csv", **calm)]
    moved = [float(line["drift"]) for line in lines("drift.csv", **calm)]
    assert trust[0] == 1.0
    assert max(trust[-100:]) < 0.2  # the floor, below which a hospital is suspended
    assert moved[-100:] == [0.0] * 100
    flipped = lines("reputation.csv", method="paper", attack="sign_flip")
    assert float(flipped[9]["reputation_malicious"]) < 0.2 < float(flipped[9]["reputation_honest"])
    cells: dict[tuple[str, str], list[float]] = {}
    for line in lines("drift.csv"):
        cells.setdefault((line["method"], line["attack"]), []).append(float(line["drift"]))
    assert len(cells) > 15
    assert not any(any(drift_alarms(drifts)[100:]) for drifts in cells.values())


def test_a_place_that_no_table_is_for_is_refused(copy: Path) -> None:
    page = copy / "README.md"
    page.write_text("<!-- mian:begin -->\n<!-- mian:end -->\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"must be one of main, .*; got 'mian'"):
        rendered(copy)


def test_a_single_figure_and_a_command_within_the_text_are_written_from_the_data(
    copy: Path,
) -> None:
    page = copy / "README.md"
    before = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"(<!--main-root-->)[^<]*", r"\g<1>12.3 %", before), encoding="utf-8")
    made = json.loads((copy / RESULTS / "table2.made.json").read_text())
    first, *others = made["parts"]
    changed = made | {
        "command": "secure-fl paper rounds=7",
        "parts": [{**first, "rounds": 7}, *others],
    }
    (copy / RESULTS / "table2.made.json").write_text(json.dumps(changed))
    texts = rendered(copy)
    assert texts["README.md"] == before
    assert "```sh\nsecure-fl paper rounds=7 --out runs/paper\n```" in texts["docs/results.md"]
    assert "5 seeds, 7 rounds (the paper: 200)" in texts["docs/results.md"]
    assert "5 seeds, 200 rounds (the paper: 200)" in texts["docs/results.md"]  # of the digits
    page.write_text("<!--main-rot-->1<!--/-->", encoding="utf-8")
    with pytest.raises(InputError, match="got 'main-rot'"):
        rendered(copy)


def test_a_table_is_taken_with_its_command_and_figure(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "figures").mkdir(parents=True)
    (made / "figures" / "defence_support2-200_attacks.png").write_bytes(b"drawn")
    told = {
        "command": "secure-fl paper --only defence --jobs 1 --out /x",
        "seeds": [0],
        "rounds": 10,
    }
    (made / "defence.made.json").write_text(json.dumps(told))
    rows = json.loads((ROOT / RESULTS / "defence.json").read_text())[:2]
    (made / "defence.json").write_text(json.dumps(rows))
    take_table(tmp_path, "defence", [made])
    kept, how = table(tmp_path, "defence")
    assert (kept, how["command"]) == (rows, "secure-fl paper --only defence")
    assert (tmp_path / "docs/figures/defence_support2-200_attacks.png").read_bytes() == b"drawn"
    (made / "defence.json").write_text(json.dumps([{"task": "support2-200"}]))
    with pytest.raises(InputError, match=r"defence.json\[0\] must be with task, data"):
        take_table(tmp_path, "layers", [made])


def test_a_table_of_several_parts_has_each_row_once_and_tells_all_commands(tmp_path: Path) -> None:
    rows = json.loads((ROOT / RESULTS / "defence.json").read_text())[:3]
    other = [{**rows[1], "auc": 0.5}, rows[2]]
    for name, part in (("first", rows[:2]), ("second", other)):
        (tmp_path / name / "figures").mkdir(parents=True)
        told = {"command": f"secure-fl paper --only defence --data {name} --out /x", "rounds": 10}
        (tmp_path / name / "defence.made.json").write_text(json.dumps(told))
        (tmp_path / name / "defence.json").write_text(json.dumps(part))
    take_table(tmp_path, "defence", [tmp_path / "first", tmp_path / "second"])
    kept, how = table(tmp_path, "defence")
    assert kept == rows
    assert [part["rounds"] for part in how["parts"]] == [10, 10]
    assert command_block(how, "runs/defence").splitlines()[1:3] == [
        "secure-fl paper --only defence --data first --out runs/defence",
        "secure-fl paper --only defence --data second --out runs/defence-2",
    ]


def test_a_report_is_kept_whole_but_for_its_page_and_cells(tmp_path: Path) -> None:
    made, place = tmp_path / "made", tmp_path / "docs/results/report"
    for name in ("paper.md", "paper.html", "fig3.csv", "figures/fig3.png", "cells/a/b.json"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    take_report(tmp_path, made)
    assert (place / "figures/fig3.png").read_text() == "figures/fig3.png"
    (made / "fig3.csv").unlink()
    take_report(tmp_path, made)  # nothing of the one before stays
    kept = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert kept == {"paper.md", "figures/fig3.png"}
    with pytest.raises(InputError, match="must be a folder of secure-fl paper"):
        take_report(tmp_path, tmp_path / "none")
    assert (place / "paper.md").exists()


def test_rows_of_a_run_are_kept_in_the_order_of_its_settings(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = load_config(["experiment=quick", "defences=[robust]", "attacks=[sign_flip,backdoor]"])
    names = ["robust--backdoor", "robust--none", "robust--sign_flip"]
    for name in names:
        cell = {"defence": "robust", "attack": name[8:], "malicious_fraction": 0.3, "auc": None}
        place = folder / "cells" / name
        place.mkdir(parents=True)
        (place / "cell.json").write_text(json.dumps(cell | {"accuracy": 0.5, "f1": 0.5}))
    save_config(config, folder / "config.yaml")
    begun = {
        "command": "secure-fl run 'a=[b, c]' --out /x y=1",
        "created": "now",
        "packages": {"numpy": "2", "pip": "1"},
    }
    (folder / "environment.json").write_text(json.dumps(begun))
    take_run(tmp_path, "some", [folder])
    kept = json.loads((tmp_path / RESULTS / RUNS).read_text())["some"]
    assert kept["runs"] == [
        begun | {"command": "secure-fl run 'a=[b, c]' y=1", "packages": {"numpy": "2"}}
    ]
    assert [row["attack"] for row in kept["rows"]] == ["none", "sign_flip", "backdoor"]
    assert kept["rows"][0].keys() == {"defence", "attack", "malicious_fraction", "accuracy"}
    with pytest.raises(InputError, match="small letters"):
        take_run(tmp_path, "Some run", [folder])
    shutil.rmtree(folder / "cells")
    with pytest.raises(InputError, match="must hold cells of a run"):
        take_run(tmp_path, "some", [folder])


def _cost(method: str, online: float, **more: object) -> dict:
    row = {"method": method, "hospitals": 20, "dim": 1000, "nodes": 2, "rounds": 7}
    sent = {"bytes_per_node_online": 98_000, "bytes_dealer": 205_000, "peak_mib_per_node": 2048}
    return row | sent | {"seconds_online": online, "seconds_offline": 0.5 * online} | more


def test_costs_under_mpc_are_taken_as_printed_and_told_from_cheap_to_dear(tmp_path: Path) -> None:
    peer = {"rounds": None, "bytes_per_node_online": None, "bytes_dealer": None}
    printed = {
        "rules": [
            _cost("median, 18 bits", 0.2),
            _cost("mean, 18 bits", 0.1),
            _cost("SPU SEMI2K", 29.4, seconds_offline=None, **peer),
        ],
        # Twice the coordinates take four times as long, twice the hospitals twice as long.
        "curves": [
            _cost("median, 18 bits", 0.2),
            _cost("median, 18 bits", 0.8, dim=2000),
            _cost("median, 18 bits", 0.4, hospitals=40),
        ],
        "slow": [_cost("median, radix", 5.13), _cost("median, chosen", 1.94)],
    }
    for kind, rows in printed.items():
        file = tmp_path / f"{kind}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        take_mpc(tmp_path, kind, file)
    kept = mpc(tmp_path)
    assert list(kept) == ["rules", "curves", "slow"]
    assert rule_lines(kept["rules"]) == [
        ["`mean`", "0.10", "0.05", "7", "98", "205"],
        ["`median`", "0.20", "0.10", "7", "98", "205"],
        ["median by a comparator network in SPU 0.9.5, SEMI2K", "29", "–", "–", "–", "–"],
    ]
    assert mpc_figures(kept) == {
        "mpc-grows-n": "1.00",
        "mpc-grows-d": "2.00",
        "mpc-largest-seconds": "0.8",
        "mpc-largest-gib": "2.0",
        "mpc-slow-chosen": "1.9",
        "mpc-slow-radix": "5.1",
    }
    with pytest.raises(InputError, match=r"kind must be one of rules, curves, slow; got 'fast'"):
        take_mpc(tmp_path, "fast", tmp_path / "rules.jsonl")
    (tmp_path / "rules.jsonl").write_text('{"method": "median"}\n')
    with pytest.raises(InputError, match=r"rules.jsonl\[0\] must be a row .*hospitals"):
        take_mpc(tmp_path, "rules", tmp_path / "rules.jsonl")
    (tmp_path / "rules.jsonl").write_text("")
    with pytest.raises(InputError, match=r"rules\.jsonl must be with rows; got 'none'"):
        take_mpc(tmp_path, "rules", tmp_path / "rules.jsonl")
    assert mpc(tmp_path) == kept
