"""MIMIC-III: the official layout, made up small; an oracle in plain Python over the same rows."""

from __future__ import annotations

import csv
import gzip
import os
import shlex
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.cli.main import main
from secure_fl import data
from secure_fl.data import tables
from secure_fl.data.prepared import keep, restore
from secure_fl.data.sets import mimic3, support2
from secure_fl.data.tables import read_chunks
from secure_fl.errors import InputError
from secure_fl.settings.config import load_config

START = datetime(2150, 3, 1, 12)
HEADERS = {
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE,"
    "ADMISSION_LOCATION,DISCHARGE_LOCATION,INSURANCE,LANGUAGE,RELIGION,MARITAL_STATUS,ETHNICITY,"
    "EDREGTIME,EDOUTTIME,DIAGNOSIS,HOSPITAL_EXPIRE_FLAG,HAS_CHARTEVENTS_DATA",
    "ICUSTAYS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,DBSOURCE,FIRST_CAREUNIT,LAST_CAREUNIT,"
    "FIRST_WARDID,LAST_WARDID,INTIME,OUTTIME,LOS",
    "CHARTEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,ITEMID,CHARTTIME,STORETIME,CGID,VALUE,"
    "VALUENUM,VALUEUOM,WARNING,ERROR,RESULTSTATUS,STOPPED",
    "LABEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,ITEMID,CHARTTIME,VALUE,VALUENUM,VALUEUOM,FLAG",
}
Rows = dict[str, list[dict[str, Any]]]


def person(rows: Rows, subject: int, *, age: float = 60, died: int = 0, hours: float = 72) -> int:
    """Add a patient with one admission and one stay; ids follow from the subject's."""
    born = START - timedelta(days=365.2425 * age)
    rows["PATIENTS"].append({"SUBJECT_ID": subject, "GENDER": "MF"[subject % 2], "DOB": born})
    hadm, icu = 1000 + subject, 2000 + subject
    kind = ("EMERGENCY", "ELECTIVE", "URGENT")[subject % 3]
    rows["ADMISSIONS"].append(
        {
            "SUBJECT_ID": subject,
            "HADM_ID": hadm,
            "ADMISSION_TYPE": kind,
            "HOSPITAL_EXPIRE_FLAG": died,
            "DIAGNOSIS": 'SEPSIS, "SEVERE"',
        }
    )
    stay(rows, subject, hadm, icu, START, hours)
    return icu


def stay(rows: Rows, subject: int, hadm: int, icu: int, start: datetime, hours: float) -> None:
    rows["ICUSTAYS"].append(
        {
            "SUBJECT_ID": subject,
            "HADM_ID": hadm,
            "ICUSTAY_ID": icu,
            "FIRST_CAREUNIT": ("MICU", "CCU")[subject % 2],
            "INTIME": start,
            "OUTTIME": start + timedelta(hours=hours),
        }
    )


def chart(rows: Rows, icu: Any, item: int, hour: float, value: Any, error: Any = "") -> None:
    rows["CHARTEVENTS"].append(
        {
            "ICUSTAY_ID": icu,
            "ITEMID": item,
            "CHARTTIME": START + timedelta(hours=hour),
            "VALUE": f"about {value}, roughly",
            "VALUENUM": value,
            "ERROR": error,
        }
    )


def lab(rows: Rows, hadm: Any, item: int, hour: float, value: Any) -> None:
    when = START + timedelta(hours=hour)
    rows["LABEVENTS"].append(
        {"HADM_ID": hadm, "ITEMID": item, "CHARTTIME": when, "VALUENUM": value}
    )


def empty() -> Rows:
    return {name: [] for name in HEADERS}


def write(folder: Path, rows: Rows, *, packed: bool = False, lower: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for name, header in HEADERS.items():
        columns = header.split(",")
        target = folder / f"{name}.csv{'.gz' if packed else ''}"
        open_text = gzip.open if packed else open
        with open_text(target, "wt", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", quoting=csv.QUOTE_MINIMAL)
            file.write((header.lower() if lower else header) + "\n")
            for number, row in enumerate(rows[name]):
                shown = {
                    k: v.isoformat(" ") if isinstance(v, datetime) else v for k, v in row.items()
                }
                shown = {
                    k: v.split(".")[0] if "TIME" in k or k == "DOB" else v for k, v in shown.items()
                }
                writer.writerow({"ROW_ID": number} | shown)
    return folder


@pytest.fixture
def rows() -> Rows:
    """Forty patients with random events, some of which do not count."""
    rng, made = np.random.default_rng(0), empty()
    for subject in range(40):
        icu = person(made, subject, age=20 + subject, died=int(subject % 4 == 0))
        for variable in mimic3.CHARTED:
            for _ in range(rng.integers(0, 4)):
                item = int(rng.choice(variable.items))
                value = round(float(rng.uniform(variable.above - 5, variable.up_to * 1.1)), 2)
                chart(made, icu, item, rng.uniform(-5, 60), value, rng.choice(["", "0", "1"]))
        for variable in mimic3.MEASURED:
            for _ in range(rng.integers(0, 3)):
                item = int(rng.choice(variable.items))
                value = round(float(rng.uniform(0, variable.up_to * 1.1)), 2)
                lab(made, 1000 + subject, item, rng.uniform(-5, 60), value)
    return made


def oracle(rows: Rows, subject: int, variable: mimic3.Variable, table: str) -> list[float]:
    """Values of one patient that count."""
    key = ("ICUSTAY_ID", 2000) if table == "CHARTEVENTS" else ("HADM_ID", 1000)
    found = []
    for row in rows[table]:
        hours = (row["CHARTTIME"].replace(microsecond=0) - START).total_seconds() / 3600
        value = row["VALUENUM"]
        if row[key[0]] == key[1] + subject and row["ITEMID"] in variable.items:
            good = 0 <= hours < 48 and variable.above < value <= variable.up_to
            if good and str(row.get("ERROR", "")) != "1":
                found.append(value)
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_matches_an_oracle_row_by_row(
    packed: bool, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK_ROWS", 7)  # windows that cross pieces
    monkeypatch.setattr(tables.read_chunks, "__defaults__", (7,))
    got = data.load("mimic3", write(tmp_path / "mimic", rows, packed=packed))
    assert got.x.shape == (40, 4 + 3 * (len(mimic3.CHARTED) + len(mimic3.MEASURED)))
    assert got.y.tolist() == [int(s % 4 == 0) for s in range(40)]
    assert got.group.tolist() == list(range(40))
    columns = dict(zip(got.feature_names, got.x.T, strict=True))
    compared = 0
    for table, variables in (("CHARTEVENTS", mimic3.CHARTED), ("LABEVENTS", mimic3.MEASURED)):
        for variable in variables:
            for subject in range(40):
                values = oracle(rows, subject, variable, table)
                want = [min(values), max(values), np.mean(values)] if values else [np.nan] * 3
                have = [columns[f"{variable.name}_{s}"][subject] for s in mimic3.STATISTICS]
                np.testing.assert_allclose(have, want, rtol=1e-6)
                compared += len(values)
    assert compared > 500
    np.testing.assert_allclose(columns["age"], np.arange(20, 60), atol=0.01)
    sexes = got.categories["gender"]
    assert [sexes[int(c)] for c in columns["gender"]] == ["MF"[s % 2] for s in range(40)]
    assert set(got.categories) == {"gender", "admission_type", "first_careunit"}


def test_fahrenheit_joins_celsius(rows: Rows, tmp_path: Path) -> None:
    made = empty()
    icu = person(made, 1)
    chart(made, icu, 223761, 1, 104.0)  # 40 degrees Celsius
    chart(made, icu, 678, 2, 10.0)  # far below the limit
    chart(made, icu, 676, 3, 36.0)
    got = data.load("mimic3", write(tmp_path / "mimic", made))
    columns = dict(zip(got.feature_names, got.x[0], strict=True))
    assert [columns[f"temperature_{s}"] for s in mimic3.STATISTICS] == [36, 40, 38]


def test_only_first_long_stays_of_adults_count(tmp_path: Path) -> None:
    made = empty()
    person(made, 1)
    person(made, 2, age=17.9)
    person(made, 3, hours=47.9)
    person(made, 4, age=300)  # above 89: born 300 years back
    person(made, 5)
    stay(made, 5, 1005, 3005, START + timedelta(days=9), 90)  # a second stay, same admission
    made["ADMISSIONS"].append(
        {"SUBJECT_ID": 5, "HADM_ID": 4005, "ADMISSION_TYPE": "URGENT", "HOSPITAL_EXPIRE_FLAG": 1}
    )
    stay(made, 5, 4005, 4005, START + timedelta(days=400), 90)  # a second admission
    got = data.load("mimic3", write(tmp_path / "mimic", made))
    assert got.group.tolist() == [1, 4, 5, 5]
    assert got.y.tolist() == [0, 0, 0, 1]
    ages = got.x[:, got.feature_names.index("age")]
    np.testing.assert_allclose(ages, [60, mimic3.AGE_ABOVE_89, 60, 61.1], atol=0.01)


def test_lower_case_columns_as_in_the_demo(rows: Rows, tmp_path: Path) -> None:
    one = data.load("mimic3", write(tmp_path / "a", rows))
    two = data.load("mimic3", write(tmp_path / "b", rows, lower=True))
    np.testing.assert_array_equal(one.x, two.x)


def test_a_prepared_file_gives_the_same(rows: Rows, tmp_path: Path) -> None:
    one = data.load("mimic3", write(tmp_path / "a", rows))
    keep(one, tmp_path / "one.npz")
    two = data.load("mimic3", tmp_path / "one.npz")
    np.testing.assert_array_equal(one.x, two.x)
    assert (one.y == two.y).all()
    assert (one.group == two.group).all()
    assert (one.feature_names, one.categories) == (two.feature_names, two.categories)
    with pytest.raises(InputError, match="exists already"):
        keep(one, tmp_path / "one.npz")
    with pytest.raises(InputError, match="holds mimic3, not chestxray14"):
        restore(tmp_path / "one.npz", "chestxray14")
    (tmp_path / "one.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:100])
    with pytest.raises(InputError, match="is not a file of secure-fl prepare"):
        data.load("mimic3", tmp_path / "one.npz")


def _gone(folder: Path) -> None:
    (folder / "ICUSTAYS.csv").unlink()
    (folder / "LABEVENTS.csv").unlink()


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def _cut(folder: Path) -> None:
    content = gzip.compress((folder / "LABEVENTS.csv").read_bytes())
    (folder / "LABEVENTS.csv").unlink()
    (folder / "LABEVENTS.csv.gz").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_gone, r"lacks ICUSTAYS.csv, LABEVENTS.csv \(or .csv.gz\)"),
        (_edit("PATIENTS", "GENDER,DOB", "SEX,BORN"), "PATIENTS.csv lacks the columns GENDER, DOB"),
        (_edit("CHARTEVENTS", "VALUENUM", "V"), "CHARTEVENTS.csv lacks the columns VALUENUM"),
        (_edit("ICUSTAYS", "2150-03-01 12:00:00", "1 March"), "ICUSTAYS holds a time that is not"),
        (_edit("ADMISSIONS", ",EMERGENCY", ",EMERGENCY,1,2,3,4"), "ADMISSIONS.csv cannot be read"),
        (_cut, "LABEVENTS.csv.gz cannot be read"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    change: Callable[[Path], None], message: str, rows: Rows, tmp_path: Path
) -> None:
    folder = write(tmp_path / "mimic", rows)
    change(folder)
    with pytest.raises(InputError, match=message):
        data.load("mimic3", folder)


def test_a_pipe_is_no_table_and_a_strange_file_no_data(tmp_path: Path) -> None:
    for name in mimic3.TABLES:
        os.mkfifo(tmp_path / f"{name}.csv")
    with pytest.raises(InputError, match=r"lacks PATIENTS\.csv, ADMISSIONS\.csv"):
        data.load("mimic3", tmp_path)
    zeros = np.zeros(2)
    for about in ("[" * 200_000, "[]", '{"name": "mimic3"}', "1e999"):
        path = tmp_path / "strange.npz"
        np.savez(path, x=zeros[:, None], y=zeros, group=zeros, about=np.array(about))
        with pytest.raises(InputError, match="is not a file of secure-fl prepare"):
            data.load("mimic3", path)


def test_no_folder_a_file_and_no_stay_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"mimic3 is not shipped: give data.path=FOLDER that holds"
    ):
        data.load("mimic3")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data.path must be a folder that holds PATIENTS.csv"):
        data.load("mimic3", tmp_path / "file")
    made = empty()
    person(made, 1, hours=3)
    with pytest.raises(InputError, match="no adult's stay in ICUSTAYS lasts 48 hours"):
        data.load("mimic3", write(tmp_path / "mimic", made))


def _halve(name: str) -> Callable[[Path], None]:
    """Keep the first half of a table's lines, as a download that stopped between two lines."""

    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: 1 + len(lines) // 2]))

    return change


def _cut_inside(name: str, drop: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        path.write_text(path.read_text()[:-drop])

    return change


def _pack_cut(name: str, drop: int) -> Callable[[Path], None]:
    """The same inside a whole gzip file."""

    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        packed = gzip.compress(path.read_bytes()[:-drop])
        path.unlink()
        path.with_name(f"{name}.csv.gz").write_bytes(packed)

    return change


def _unterminated(name: str) -> Callable[[Path], None]:
    """A gzip file that lacks its last bytes: all lines are there, the check sum is not."""

    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        packed = gzip.compress(path.read_bytes())
        path.unlink()
        path.with_name(f"{name}.csv.gz").write_bytes(packed[:-6])

    return change


def _repeat(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / f"{name}.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*lines, lines[3]]))

    return change


def _decimal_comma(folder: Path) -> None:
    """As a program of another country writes numbers, without quotes."""
    path = folder / "LABEVENTS.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = ",".join([*lines[2].split(",")[:5], "36,6", "36,6", "mg/dL", "\n"])
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_decimal_comma, r"LABEVENTS.csv must have \d fields .* row 2 has more"),
        (_halve("PATIENTS"), r"PATIENTS.csv lacks 20 of the 40 SUBJECT_ID that ICUSTAYS.csv names"),
        (_halve("ADMISSIONS"), r"ADMISSIONS.csv lacks 20 of the 40 HADM_ID .*, 1020 first"),
        (_halve("ICUSTAYS"), r"ICUSTAYS.csv lacks 20 of the 40 ICUSTAY_ID that CHARTEVENTS.csv"),
        (_cut_inside("PATIENTS", 9), r"PATIENTS.csv is cut short: line 41, its last, has \d of 8"),
        (_cut_inside("ADMISSIONS", 4), r"ADMISSIONS.csv cannot be read: .*NA values"),
        (
            _cut_inside("LABEVENTS", 1),
            r"LABEVENTS.csv may be cut short: line \d+, .* no line break",
        ),
        (_cut_inside("CHARTEVENTS", 30), r"CHARTEVENTS.csv is cut short: line \d+"),
        (_pack_cut("PATIENTS", 9), r"PATIENTS.csv.gz is cut short: line 41"),
        (_pack_cut("CHARTEVENTS", 4), r"CHARTEVENTS.csv.gz is cut short"),
        (_unterminated("LABEVENTS"), r"LABEVENTS.csv.gz cannot be read: .*end-of-stream"),
        (_unterminated("PATIENTS"), r"PATIENTS.csv.gz cannot be read"),
        (_repeat("PATIENTS"), r"PATIENTS.csv must have one line for each SUBJECT_ID; .* 2 first"),
        (_repeat("ADMISSIONS"), r"ADMISSIONS.csv must have one line for each HADM_ID; .* 1002"),
        (_repeat("ICUSTAYS"), r"ICUSTAYS.csv must have one line for each ICUSTAY_ID; .* 2002"),
    ],
)
def test_no_line_is_lost_or_counted_twice_in_silence(
    change: Callable[[Path], None], message: str, rows: Rows, tmp_path: Path
) -> None:
    folder = write(tmp_path / "mimic", rows)
    change(folder)
    with pytest.raises(InputError, match=message):
        data.load("mimic3", folder)


def test_empty_lines_at_the_end_are_no_rows(rows: Rows, tmp_path: Path) -> None:
    folder = write(tmp_path / "mimic", rows)
    before = data.load("mimic3", folder)
    for name in mimic3.TABLES:
        with (folder / f"{name}.csv").open("a") as file:
            file.write("\n\r\n\n")
    assert np.array_equal(data.load("mimic3", folder).x, before.x, equal_nan=True)


def test_a_patient_without_a_date_of_birth_is_named(rows: Rows, tmp_path: Path) -> None:
    rows["PATIENTS"][7]["DOB"] = ""
    with pytest.raises(InputError, match=r"PATIENTS.csv has no DOB for SUBJECT_ID 7"):
        data.load("mimic3", write(tmp_path / "mimic", rows))


@pytest.mark.parametrize("name", ["support2", "lidc_nodules"])
def test_prepare_says_that_shipped_data_need_none(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next(Path(support2.__file__).parent.glob(f"{name}.*[zv]"))
    assert main(["prepare", name, str(source), str(tmp_path / "x.npz")]) == 2
    message = capsys.readouterr().err
    assert f"{name} is in the package and needs no preparation" in message
    printed = message.rpartition(": ")[2]
    assert load_config(shlex.split(printed)[2:]).data.name == name
    assert list(tmp_path.iterdir()) == []


def test_the_command_that_prepare_prints_loads_the_data(
    rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "mimic", rows)
    assert main(["prepare", "mimic3", str(folder), str(tmp_path / "one.npz")]) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition("run: ")[2]
    settings = load_config(shlex.split(command)[2:]).data
    np.testing.assert_array_equal(
        data.load(settings.name, settings.path).x, data.load("mimic3", folder).x
    )


def test_memory_is_that_of_a_piece_whatever_the_length(tmp_path: Path) -> None:
    """Three times the rows in pieces of one size: the most memory held at once stays the same."""

    def most(lines: int) -> int:
        path = tmp_path / f"{lines}.csv"
        body = "".join(f"{i},{i % 97},2110-01-01 05:00:00\n" for i in range(lines))
        path.write_text("ITEMID,VALUENUM,CHARTTIME\n" + body)
        columns = {"ITEMID": "int64", "VALUENUM": "float64"}
        tracemalloc.start()
        read = sum(len(chunk) for chunk in read_chunks(path, columns, rows=2_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert read == lines
        return peak

    most(2_000)  # what pandas keeps from its first time
    assert most(60_000) < 1.2 * most(20_000)
