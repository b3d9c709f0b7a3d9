"""Tables of one's own: what a few settings make of a CSV or Parquet file, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from secure_fl import data
from secure_fl.data.sets import table
from secure_fl.errors import ConfigError, InputError
from secure_fl.settings.config import load_config
from secure_fl.simulation.prepare import prepare


def frame(rows: int = 600) -> pd.DataFrame:
    """Cases of three centres: numbers with holes, categories, a text of booleans, dates."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 90, rows).astype(float)
    age[rng.random(rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "id": rng.integers(0, rows // 2, rows),
            "centre": rng.choice(["Ulm", "Bonn", "Kiel"], rows, p=[0.5, 0.3, 0.2]),
            "age": age,
            "stage": rng.choice(["II", "I", "None", None], rows),
            "dose": rng.normal(size=rows),
            "smokes": rng.random(rows) < 0.5,
            "seen": ["2020-01-17"] * rows,
            "outcome": rng.choice(["well", "dead"], rows),
        }
    )


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "cases.csv"
    frame().to_csv(path, index=False)
    return path


ROLES = {"label": "outcome", "patient": "id", "site": "centre", "drop": ["seen"]}


def test_columns_are_those_of_the_file(csv: Path) -> None:
    """Oracle: the frame that was written."""
    want = frame()
    ds = data.load("table", csv, **ROLES)
    assert ds.feature_names == ("age", "stage", "dose", "smokes")
    assert ds.categories == {"stage": ("I", "II", "None"), "smokes": ("False", "True")}
    for place, name in ((0, "age"), (2, "dose")):
        np.testing.assert_array_equal(ds.x[:, place], want[name].to_numpy(np.float32))
    stage = [None if np.isnan(c) else ds.categories["stage"][int(c)] for c in ds.x[:, 1]]
    assert stage == [None if pd.isna(v) else v for v in want["stage"]]
    assert ds.class_names == ("dead", "well")
    assert [ds.class_names[i] for i in ds.y] == list(want["outcome"])
    assert ds.site_names == ("Bonn", "Kiel", "Ulm")
    assert [ds.site_names[i] for i in ds.site] == list(want["centre"])
    pairs = set(zip(ds.group.tolist(), want["id"], strict=True))
    assert len(pairs) == len(set(ds.group.tolist())) == want["id"].nunique()


def test_parquet_and_gzip_give_the_same(csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    kept = frame()
    kept["stage"] = kept["stage"].astype("category")
    kept.to_parquet(tmp_path / "cases.parquet")
    (tmp_path / "cases.csv.gz").write_bytes(gzip.compress(csv.read_bytes()))
    first, *others = (
        data.load("table", path, **ROLES)
        for path in (csv, tmp_path / "cases.csv.gz", tmp_path / "cases.parquet")
    )
    for other in others:
        for name in ("x", "y", "group", "site"):
            if name != "x":
                np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
        np.testing.assert_array_equal(first.x, other.x)
        assert first.class_names == other.class_names


def test_a_few_settings_make_a_federation_by_centre(csv: Path) -> None:
    """Ulm, Bonn and Kiel are a hospital each; statistics are those of the root's rows alone."""
    settings = [
        "data=table",
        f"data.path={csv}",
        "data.label=outcome",
        "data.patient=id",
        "data.drop=[seen]",
        "data.partition=column",
        "data.site=centre",
        "data.hospitals=3",
        "data.minimum_rows=10",
        "data.validators=2",
        "ledger.quorum=2",
        "attacks=[]",
    ]
    config = load_config(settings)
    federation = prepare(config)
    assert federation.hospitals == 3
    assert federation.data.class_names == ("dead", "well")
    root = federation.data.root.x[:, 0]
    assert (root.min(), root.max()) == (0, 1)
    assert "stage=II" in federation.data.feature_names
    assert prepare(load_config([*settings, "seed=1"])).data_sha256 == federation.data_sha256
    assert prepare(load_config([*settings, "data.hospitals=2"])).hospitals == 2


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def lines(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


MANY = [f"{i % 2},name {i}" for i in range(300)]
# Text of a file, the options beside label y, and the refusal.
REFUSED = {
    "a date": (lines("y,at", "0,2020-01-01", "1,2021-02-03"), {}, r"'at' .*dates, such as '2020"),
    "another date": (lines("y,at", "0,3.12.2020", "1,"), {}, r"'at' must hold .*got dates"),
    "a date and time": (lines("y,a", "0,2020-01-01 10:00:00", "1,"), {}, r"'a' must .*got dates"),
    "numbers and words": (lines("y,a", "0,1", "1,2", "0,?"), {}, r"'a' must .* not both; got '\?'"),
    "a decimal comma": (lines("y,a", '0,"1,5"', '1,"2"', "1,3"), {}, r"'a' .*got '1,5' among"),
    "a text": (lines("y,a", *MANY), {}, r"'a' must have at most 100 categories; got 300, such as"),
    "nothing": (lines("y,a,b", "0,,1", "1,NA,2"), {}, r"'a' must have a value in some row"),
    "infinity": (lines("y,a", "0,1e300", "1,2"), {}, r"'a' must hold finite .* row 1 has 1e\+300"),
    "a label left out": (lines("y,a", "0,1", ",2"), {}, r"'y' must have a label .*row 2 has none"),
    "one class": (lines("y,a", "0,1", "0,2"), {}, r"'y' must have from 2 to 100 classes; got 1"),
    "a measurement": (lines("y,a", "0.5,1", "1,2"), {}, r"'y' must hold classes.*got 0\.5"),
    "one class twice": (
        lines("y,a", "1,1", "01,2", "2,1"),
        {},
        r"'y' must write each class in one",
    ),
    "no features": (
        lines("y,a", "0,1", "1,2"),
        {"drop": ["a"]},
        r"columns of features beside y, a",
    ),
    "a column twice": (lines("y,a,a", "0,1,1", "1,2,2"), {}, r"name each column once; got 'a'"),
    "semicolons": (lines("y;a", "0;1"), {}, r"separated by commas; its first line is 'y;a'"),
    "a longer row": (lines("y,a", "0,1", "1,2,3"), {}, r"must have 2 fields .*row 2 has more"),
    "cut short": ("y,a\n0,1\n1,", {}, r"t\.csv .*cut short"),
    "no rows": (lines("y,a"), {}, r"t\.csv must have rows; got none"),
    "empty": ("", {}, r"t\.csv cannot be read"),
    "a site": (lines("y,a,s", "0,1,", "1,2,u"), {"site": "s"}, r"'s' must have a site .*row 1"),
    "a patient": (lines("y,a,p", "0,1,7", "1,2,"), {"patient": "p"}, r"'p' .* a patient .*row 2"),
    "misspelt": (lines("y,age", "0,1"), {"patient": "agee"}, r"data\.patient must .*mean age\?"),
    "two roles": (lines("y,a", "0,1"), {"patient": "y"}, r"must differ; got 'y' twice"),
    "a bad name": (lines("y,a\x07", "0,1", "1,2"), {}, r"name of a column must have .*printable"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_by_name(case: str, tmp_path: Path) -> None:
    text, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        data.load("table", write(tmp_path, text), label="y", **options)


def test_what_is_no_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write(tmp_path, lines("y,a", "0,1", "1,2"))
    with pytest.raises(InputError, match=r"data\.path must be a file \.csv"):
        data.load("table")
    with pytest.raises(InputError, match=r"data\.path must be a file \.csv.*got '.*notes\.txt'"):
        data.load("table", write(tmp_path, "y,a", "notes.txt"), label="y")
    (tmp_path / "old.csv").write_bytes("y,größe\n0,1\n1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"old\.csv must be text in UTF-8; save it so \("):
        data.load("table", tmp_path / "old.csv", label="y")
    with pytest.raises(InputError, match=r"data\.label must name the column .*one of y, a"):
        data.load("table", good)
    with pytest.raises(
        InputError, match=r"data\.side with data\.name table must be left out.*imag"
    ):
        data.load("table", good, label="y", side=3)
    with pytest.raises(InputError, match=r"data\.label with data\.name support2 must be left out"):
        data.load("support2", label="y")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    if pytest.importorskip("pyarrow"):
        with pytest.raises(InputError, match=r"t\.parquet cannot be read"):
            data.load("table", tmp_path / "t.parquet", label="y")
    monkeypatch.setattr(table, "MAX_CELLS", 3)
    with pytest.raises(InputError, match=r"t\.csv must have at most 3 values"):
        data.load("table", good, label="y")


def test_parquet_of_strange_types_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"y": [0, 1], "a": [[1], [2]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="'a' must hold numbers or text; got a value of type"):
        data.load("table", tmp_path / "t.parquet", label="y")
    when = pd.to_datetime(["2020-01-01", "2020-01-02"])
    pd.DataFrame({"y": [0, 1], "a": when}).to_parquet(tmp_path / "u.parquet")
    with pytest.raises(InputError, match="'a' must hold numbers or categories; got dates"):
        data.load("table", tmp_path / "u.parquet", label="y")


def test_whole_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    ds = data.load("table", write(tmp_path, lines("y,a", "10,1", "9,2", "10,3")), label="y")
    assert (ds.class_names, ds.y.tolist()) == (("9", "10"), [1, 0, 1])
    assert ds.group.tolist() == [0, 1, 2]


def test_lists_of_columns_hold_names() -> None:
    with pytest.raises(ConfigError, match=r"data\.drop"):
        load_config(["data=table", "data.drop=seen"])
