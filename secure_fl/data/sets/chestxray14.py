"""ChestX-ray14: any of 14 findings on frontal chest X-rays, 32 x 32 pixels (data.path=FOLDER)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from secure_fl.data.dataset import Dataset
from secure_fl.data.pixels import read_image
from secure_fl.data.prepared import is_prepared, restore
from secure_fl.data.tables import read_table
from secure_fl.errors import InputError

# The NIH's table, in the release of 2020 and in the one before it.
LABELS = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
# The NIH's archives unpack to `images/`; other copies keep one folder an archive.
FOLDERS = ("images", "images_*/images", "images_*")
HEALTHY = "No Finding"
SIDE = 32


def load(path: Path | None = None) -> Dataset:
    """Read ChestX-ray14 from its official files.

    Images are reduced to 32 x 32 grey pixels by averaging. The label says whether the radiologist's
    report, read by machine, names any finding; the rows of a patient stay together.

    Args:
        path: folder with the table and the images that it lists, or the one file that
            `secure-fl prepare` made of it (112,120 images take a while to decode).

    Raises:
        InputError: the table, a column or a listed image is missing, or an image is damaged.
    """
    if is_prepared(path):
        return restore(path, "chestxray14")
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
        y=(table["FINDING LABELS"] != HEALTHY).to_numpy(np.int64),
        group=table["PATIENT ID"].to_numpy(np.int64),
        feature_names=(),
        class_names=("no finding", "finding"),
    )


def find_images(folder: Path) -> dict[str, Path]:
    """PNG files by name, in the folders that the archives unpack to."""
    found = {}
    for pattern in FOLDERS:
        for directory in sorted(folder.glob(pattern)):
            # Plain files alone: a pipe would be waited for.
            found.update({path.name: path for path in directory.glob("*.png") if path.is_file()})
    return found
