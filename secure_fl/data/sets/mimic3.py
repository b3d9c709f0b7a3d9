"""MIMIC-III: death in hospital, from the first 48 hours in intensive care (data.path=FOLDER)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from secure_fl.data.dataset import Dataset
from secure_fl.data.prepared import is_prepared, restore
from secure_fl.data.sets.support2 import encode
from secure_fl.data.tables import (
    find_tables,
    read_chunks,
    read_table,
    refuse_missing,
    refuse_repeated,
)
from secure_fl.errors import InputError

TABLES = ("PATIENTS", "ADMISSIONS", "ICUSTAYS", "CHARTEVENTS", "LABEVENTS")
WINDOW_HOURS = 48
ADULT = 18.0
# Dates of birth of patients above 89 are moved 300 years back; this is their median age.
AGE_ABOVE_89 = 91.4
CATEGORIES = ("GENDER", "ADMISSION_TYPE", "FIRST_CAREUNIT")
STATISTICS = ("min", "max", "mean")


class Variable(NamedTuple):
    """A measurement: the item ids that stand for it, and values that are no mistakes."""

    name: str
    items: tuple[int, ...]
    above: float
    up_to: float


# Items and limits of MIT-LCP's mimic-code, concepts "vitals first day", "gcs first day" and "labs
# first day" (Johnson et al., JAMIA 2018). CareVue and MetaVision use different items.
CHARTED = (
    Variable("heart_rate", (211, 220045), 0, 300),
    Variable("systolic", (51, 442, 455, 6701, 220179, 220050), 0, 400),
    Variable("diastolic", (8368, 8440, 8441, 8555, 220180, 220051), 0, 300),
    Variable("mean_pressure", (456, 52, 6702, 443, 220052, 220181, 225312), 0, 300),
    Variable("respiratory_rate", (615, 618, 220210, 224690), 0, 70),
    Variable("temperature", (223762, 676), 10, 50),
    Variable("oxygen_saturation", (646, 220277), 0, 100),
    Variable("gcs_eyes", (184, 220739), 0, 4),
    Variable("gcs_verbal", (723, 223900), 0, 5),
    Variable("gcs_motor", (454, 223901), 0, 6),
)
# Temperature in Fahrenheit, turned into Celsius before the limits apply.
FAHRENHEIT, TEMPERATURE = (223761, 678), 5
MEASURED = (
    Variable("anion_gap", (50868,), 0, 10_000),
    Variable("albumin", (50862,), 0, 10),
    Variable("bands", (51144,), 0, 100),
    Variable("bicarbonate", (50882,), 0, 10_000),
    Variable("bilirubin", (50885,), 0, 150),
    Variable("creatinine", (50912,), 0, 150),
    Variable("chloride", (50806, 50902), 0, 10_000),
    Variable("glucose", (50809, 50931), 0, 10_000),
    Variable("hematocrit", (50810, 51221), 0, 100),
    Variable("hemoglobin", (50811, 51222), 0, 50),
    Variable("lactate", (50813,), 0, 50),
    Variable("platelets", (51265,), 0, 10_000),
    Variable("potassium", (50822, 50971), 0, 30),
    Variable("ptt", (51275,), 0, 150),
    Variable("inr", (51237,), 0, 50),
    Variable("pt", (51274,), 0, 150),
    Variable("sodium", (50824, 50983), 0, 200),
    Variable("urea_nitrogen", (51006,), 0, 300),
    Variable("white_cells", (51300, 51301), 0, 1000),
)


def load(path: Path | None = None) -> Dataset:
    """Read MIMIC-III from its official tables, `.csv` or `.csv.gz`.

    A row is the first stay in intensive care of an admission of an adult, at least 48 hours long;
    the rows of a patient stay together. Columns: age, sex, type of admission, first care unit, and
    minimum, maximum and mean over the first 48 hours of each vital sign and laboratory value.

    Args:
        path: folder with PATIENTS, ADMISSIONS, ICUSTAYS, CHARTEVENTS and LABEVENTS, or the one
            file that `secure-fl prepare` made of it (the 330 million charted rows take minutes).

    Raises:
        InputError: a table, a column or a line is missing, a line is there twice, or no stay
            qualifies.
    """
    if is_prepared(path):
        return restore(path, "mimic3")
    tables = find_tables(path, "mimic3", TABLES)
    stays = select_stays(tables)
    charted = _summarise(tables, "CHARTEVENTS", "ICUSTAY_ID", stays, CHARTED)
    measured = _summarise(tables, "LABEVENTS", "HADM_ID", stays, MEASURED)
    frame = pd.concat([stays[["AGE", *CATEGORIES]], charted, measured], axis=1)
    frame.columns = frame.columns.str.lower()
    x, categories = encode(frame)
    return Dataset(
        name="mimic3",
        kind="tabular",
        x=x,
        y=stays["HOSPITAL_EXPIRE_FLAG"].to_numpy(np.int64),
        group=stays["SUBJECT_ID"].to_numpy(np.int64),
        feature_names=tuple(frame.columns),
        class_names=("survived", "died"),
        categories=categories,
    )


def select_stays(tables: dict[str, Path]) -> pd.DataFrame:
    """Stays that qualify, ordered by id, with what is known of the patient at admission.

    Raises:
        InputError: none does; a table has two lines for one stay, admission or patient, or lacks
            one that the stays name.
    """
    stays = read_table(
        tables["ICUSTAYS"],
        {
            "SUBJECT_ID": "int64",
            "HADM_ID": "int64",
            "ICUSTAY_ID": "int64",
            "FIRST_CAREUNIT": "str",
            "INTIME": "str",
            "OUTTIME": "str",
        },
    )
    admissions = read_table(
        tables["ADMISSIONS"],
        {"HADM_ID": "int64", "ADMISSION_TYPE": "str", "HOSPITAL_EXPIRE_FLAG": "int64"},
    )
    patients = read_table(
        tables["PATIENTS"], {"SUBJECT_ID": "int64", "GENDER": "str", "DOB": "str"}
    )
    for column in ("INTIME", "OUTTIME"):
        stays[column] = _seconds(stays[column], "ICUSTAYS")
    patients["DOB"] = _seconds(patients["DOB"], "PATIENTS")
    for table, key, path in (
        (stays, "ICUSTAY_ID", tables["ICUSTAYS"]),
        (admissions, "HADM_ID", tables["ADMISSIONS"]),
        (patients, "SUBJECT_ID", tables["PATIENTS"]),
    ):
        refuse_repeated(table, key, path.name)
    by = tables["ICUSTAYS"].name
    refuse_missing(stays["HADM_ID"], admissions, tables["ADMISSIONS"].name, by)
    refuse_missing(stays["SUBJECT_ID"], patients, tables["PATIENTS"].name, by)
    if patients["DOB"].isna().any():
        unborn = patients.loc[patients["DOB"].isna(), "SUBJECT_ID"].iloc[0]
        raise InputError(f"{tables['PATIENTS'].name} has no DOB for SUBJECT_ID {unborn}")
    stays = stays.sort_values(["INTIME", "ICUSTAY_ID"]).drop_duplicates("HADM_ID")
    stays = stays.merge(admissions, on="HADM_ID").merge(patients, on="SUBJECT_ID")
    age = (stays["INTIME"] - stays["DOB"]) / (365.2425 * 86_400)
    stays["AGE"] = np.where(age > 150, AGE_ABOVE_89, age)
    long_enough = stays["OUTTIME"] - stays["INTIME"] >= WINDOW_HOURS * 3600
    stays = stays[(stays["AGE"] >= ADULT) & long_enough]
    if stays.empty:
        raise InputError(f"mimic3: no adult's stay in ICUSTAYS lasts {WINDOW_HOURS} hours")
    return stays.sort_values("ICUSTAY_ID").reset_index(drop=True)


def _seconds(times: pd.Series, table: str) -> pd.Series:
    """Seconds since 1970 as float64, NaN where missing.

    In seconds, because shifted dates of birth lie further from an admission than nanoseconds in
    64 bits reach.
    """
    try:
        parsed = pd.to_datetime(times, format="%Y-%m-%d %H:%M:%S").astype("datetime64[s]")
    except ValueError as error:
        raise InputError(
            f"{table} holds a time that is not YYYY-MM-DD hh:mm:ss: {error}"
        ) from error
    return (parsed - pd.Timestamp("1970-01-01")).dt.total_seconds()


def _summarise(
    tables: dict[str, Path],
    name: str,
    key: str,
    stays: pd.DataFrame,
    variables: tuple[Variable, ...],
) -> pd.DataFrame:
    """Minimum, maximum and mean of each variable over each stay's window: (stays, 3 x variables).

    The table is read in pieces, so that memory holds the sums alone.
    """
    path, place = tables[name], tables["ICUSTAYS" if key == "ICUSTAY_ID" else "ADMISSIONS"]
    known = read_table(place, {key: "int64"})
    shape = (len(stays), len(variables))
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    total, count = np.zeros(shape), np.zeros(shape)
    items = {item: j for j, variable in enumerate(variables) for item in variable.items}
    charted = variables is CHARTED
    if charted:
        items |= dict.fromkeys(FAHRENHEIT, TEMPERATURE)
    above = np.array([variable.above for variable in variables])
    up_to = np.array([variable.up_to for variable in variables])
    row_of = pd.Series(np.arange(len(stays)), index=stays[key])
    start = stays["INTIME"].to_numpy()
    # Only charted events are ever marked as entered by mistake.
    columns = {key: "float64", "ITEMID": "int64", "CHARTTIME": "str", "VALUENUM": "float64"}
    columns |= {"ERROR": "float64"} if charted else {}
    for chunk in read_chunks(path, columns):
        refuse_missing(chunk[key].dropna().astype(np.int64), known, place.name, path.name)
        wanted = chunk["ITEMID"].isin(items) & chunk[key].isin(row_of.index)
        wanted &= chunk["VALUENUM"].notna() & chunk["CHARTTIME"].notna()
        if charted:
            wanted &= chunk["ERROR"] != 1
        events = chunk[wanted]
        i = row_of.loc[events[key].astype(np.int64)].to_numpy()
        j = events["ITEMID"].map(items).to_numpy(np.int64)
        value = events["VALUENUM"].to_numpy(np.float64)
        if charted:
            fahrenheit = events["ITEMID"].isin(FAHRENHEIT).to_numpy()
            value = np.where(fahrenheit, (value - 32) / 1.8, value)
        after = _seconds(events["CHARTTIME"], path.name).to_numpy() - start[i]
        kept = (after >= 0) & (after < WINDOW_HOURS * 3600)
        kept &= (value > above[j]) & (value <= up_to[j])
        at, value = (i[kept], j[kept]), value[kept]
        np.minimum.at(low, at, value)
        np.maximum.at(high, at, value)
        np.add.at(total, at, value)
        np.add.at(count, at, 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
    low, high = np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)
    names = [f"{v.name}_{statistic}" for v in variables for statistic in STATISTICS]
    values = np.stack([low, high, mean], axis=2).reshape(len(stays), -1)
    return pd.DataFrame(values, columns=names)
