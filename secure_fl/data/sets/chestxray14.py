"""ChestX-ray14: any or each of 14 findings on chest X-rays, 32 x 32 pixels (data.path=FOLDER)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from secure_fl.data.dataset import Dataset
from secure_fl.data.pixels import read_image
from secure_fl.data.prepared import is_prepared, restore
from secure_fl.data.tables import read_table
from secure_fl.errors import InputError, require

# The NIH's table, in the release of 2020 and in the one before it.
LABELS = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
# The NIH's archives unpack to `images/`; other copies keep one folder an archive.
FOLDERS = ("images", "images_*/images", "images_*")
HEALTHY = "No Finding"
# As the NIH lists them.
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening"),
    "Hernia",
)
# The NIH's lists of images to train on and to test on; no patient is on both.
LISTS = ("train_val_list.txt", "test_list.txt")
_ANY = ("no finding", "finding")
SIDE = 32
# What `load` takes beside the path, and the one task beside "any finding".
OPTIONS = ("task", "split")
TASKS = ("findings",)


def load(path: Path | None = None, task: str | None = None, split: str | None = None) -> Dataset:
    """Read ChestX-ray14 from its official files.

    Images are reduced to 32 x 32 grey pixels by averaging. Findings are what the radiologist's
    report, read by machine, names; the rows of a patient stay together.

    Args:
        path: folder with the table and the images that it lists, or the one file that
            `secure-fl prepare` made of it (112,120 images take a while to decode).
        task: `findings`: each of the 14 is a label of its own, and a row has any number of them.
            None: two classes, with and without any finding.
        split: `official`: the rows of `test_list.txt` are set aside for tests.

    Raises:
        InputError: the table, a list, a column or a listed image is missing, an image is damaged or
            on no list, a finding is unknown, or a prepared file lacks what is asked for.
    """
    require(task is None or task in TASKS, "data.task", f"null or {TASKS[0]}", task)
    if is_prepared(path):
        return _restored(path, task, split)
    wanted = f"{' or '.join(LABELS)} and images/ or images_001/images/, images_002/..."
    if path is None:
        raise InputError(f"chestxray14 is not shipped: give data.path=FOLDER that holds {wanted}")
    tables = [path / name for name in LABELS if (path / name).is_file()]
    if not tables:
        raise InputError(
            f"chestxray14: data.path must be a folder with {wanted}; got {str(path)!r}"
        )
    columns = {"Image Index": "str", "Finding Labels": "str", "Patient ID": "int64"}
    table = read_table(tables[0], columns)
    if table.empty or table.isna().to_numpy().any():
        raise InputError(f"{tables[0].name} must have an image, findings and a patient in each row")
    images = find_images(path)
    listed = list(table["IMAGE INDEX"])
    missing = [name for name in listed if name not in images]
    if missing:
        raise InputError(
            f"chestxray14: {len(missing)} of the {len(listed)} images that {tables[0].name} lists "
            f"are not below {path}, {missing[0]} first; unpack all archives, or keep only the rows "
            "whose images you have"
        )
    patients = table["PATIENT ID"].to_numpy(np.int64)
    y = _labels(table["FINDING LABELS"], tables[0].name)
    test = None if split is None else _tested(path, listed, patients)
    unlisted = sorted(images.keys() - set(listed))
    if unlisted:
        raise InputError(
            f"chestxray14: {tables[0].name} does not list {len(unlisted)} of the {len(images)} "
            f"images below {path}, {unlisted[0]} first: it may be cut short; keep images that are "
            "not to be read elsewhere"
        )
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda name: read_image(images[name], SIDE, grey=True), listed))
    return Dataset(
        name="chestxray14",
        kind="image",
        x=np.stack(pixels)[:, None].astype(np.float32) / np.float32(255),
        y=_any(y) if task is None else y,
        group=patients,
        feature_names=(),
        class_names=_ANY if task is None else FINDINGS,
        test=test,
    )


def find_images(folder: Path) -> dict[str, Path]:
    """PNG files by name, in the folders that the archives unpack to."""
    found = {}
    for pattern in FOLDERS:
        for directory in sorted(folder.glob(pattern)):
            # Plain files alone: a pipe would be waited for.
            found.update({path.name: path for path in directory.glob("*.png") if path.is_file()})
    return found


def _any(labels: np.ndarray) -> np.ndarray:
    return np.any(labels, axis=1).astype(np.int64)


def _labels(written: pd.Series, table: str) -> np.ndarray:
    """Findings as the table writes them, `A|B`, as int64 (N, 14) of 0 and 1."""
    y = np.zeros((len(written), len(FINDINGS)), np.int64)
    for row, text in enumerate(written):
        for name in () if text == HEALTHY else text.split("|"):
            if name not in FINDINGS:
                raise InputError(
                    f"a finding of {table} must be {HEALTHY} alone, or of {', '.join(FINDINGS)}; "
                    f"got {name!r} in {text!r}"
                )
            y[row, FINDINGS.index(name)] = 1
    return y


def _tested(folder: Path, listed: list[str], patients: np.ndarray) -> np.ndarray:
    """Which images the official split tests on: bool (N,)."""
    sides = []
    for name in LISTS:
        path = folder / name
        require(path.is_file(), "data.split official", f"with {name} in data.path", str(folder))
        sides.append(set(path.read_text(encoding="utf-8").split()))
    for image in listed:
        count = sum(image in side for side in sides)
        require(count == 1, f"image {image}", f"on one of {' and '.join(LISTS)}", f"on {count}")
    test = np.array([image in sides[1] for image in listed])
    both = np.intersect1d(patients[test], patients[~test])
    require(len(both) == 0, "a patient's images", f"on one of {' and '.join(LISTS)}", both[:1])
    return test


def _restored(path: Path, task: str | None, split: str | None) -> Dataset:
    """A prepared file, asked what it was prepared for or less."""
    kept = restore(path, "chestxray14")
    again = f"prepared with it; got {path}: secure-fl prepare chestxray14 FOLDER FILE.npz"
    if task is not None and not kept.multilabel:
        raise InputError(f"data.task={task} needs a file {again} --task {task}")
    if split is not None and kept.test is None:
        raise InputError(f"data.split={split} needs a file {again} --split {split}")
    if kept.multilabel and task is None:
        kept = replace(kept, y=_any(kept.y), class_names=_ANY)
    return kept if split is not None else replace(kept, test=None)
