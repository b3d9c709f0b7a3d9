"""PNG or JPEG images of your own, one folder a class (data.path=FOLDER data.side=32)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from secure_fl.data.columns import MAX_LEVELS, check_name
from secure_fl.data.dataset import Dataset
from secure_fl.data.pixels import read_image
from secure_fl.data.prepared import is_prepared, restore
from secure_fl.errors import InputError, require

OPTIONS = ("side", "patient")
SUFFIXES = (".png", ".jpg", ".jpeg")
SIDE, MAX_SIDE = 32, 1024
# Most values of all images together, held in memory as bytes and then as float32.
MAX_VALUES = 2**31


def load(path: Path | None = None, side: int = SIDE, patient: str | None = None) -> Dataset:
    """Read a folder with one folder a class, each with images of any size.

    Images of 8 or 16 bits, with alpha or without, grey or in colour, are scaled to `side` x `side`
    pixels (`secure_fl.data.pixels.read_image`). Where any is in colour, all have three channels.

    Args:
        path: the folder; or the one file that `secure-fl prepare` made of it.
        side: pixels along each side.
        patient: what ends the patient in a file's name: with `_`, `p7_left.png` and `p7_right.png`
            are of one patient, whatever their classes. Default: every image is a patient's only
            one. Images of one patient in training and test make results too good.

    Raises:
        InputError: a folder that is not of this form, or an image that cannot be read.
    """
    require(1 <= side <= MAX_SIDE, "data.side", f"from 1 to {MAX_SIDE}", side)
    if is_prepared(path):
        kept = restore(path, "images")
        shape = (side, side)
        require(kept.x.shape[2:] == shape, "data.side", f"that of {path.name}", kept.x.shape[2:])
        return kept
    if path is None or not path.is_dir():
        got = None if path is None else str(path)
        raise InputError(f"data.path must be a folder with one folder a class; got {got!r}")
    listed = _by_class(path)
    files = [file for each in listed.values() for file in each]
    if len(files) * side * side * 3 > MAX_VALUES:
        raise InputError(
            f"{len(files):,} images of {side} x {side} pixels do not fit: lower data.side"
        )
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(partial(read_image, side=side), files))
    colour = any(image.ndim == 3 for image in read)
    x = np.empty((len(read), 3 if colour else 1, side, side), np.float32)
    for place, image in enumerate(read):
        x[place] = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
    x /= np.float32(255)
    return Dataset(
        name="images",
        kind="image",
        x=x,
        y=np.repeat(np.arange(len(listed)), [len(each) for each in listed.values()]),
        group=_patients(files, patient),
        feature_names=(),
        class_names=tuple(listed),
    )


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Images by class, both sorted by name; hidden files are passed over.

    Raises:
        InputError: fewer than two classes, a class without images, or any other file.
    """
    found: dict[str, list[Path]] = {}
    for place in _listed(folder):
        if not place.is_dir():
            raise InputError(f"{folder} must hold one folder a class; got the file {place.name!r}")
        check_name("the name of a class", place.name)
        found[place.name] = _listed(place)
        for file in found[place.name]:
            # Plain files alone: a pipe would be waited for.
            if file.suffix.lower() not in SUFFIXES or not file.is_file():
                raise InputError(
                    f"{place} must hold images ({', '.join(SUFFIXES)}) alone; got {file.name!r}"
                )
        if not found[place.name]:
            raise InputError(f"{place} must hold images; got none")
    rule = f"from 2 to {MAX_LEVELS} folders, one a class"
    require(2 <= len(found) <= MAX_LEVELS, str(folder), rule, list(found)[:MAX_LEVELS])
    return found


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _patients(files: list[Path], separator: str | None) -> np.ndarray:
    """Whose each image is: int64 (N,)."""
    if separator is None:
        return np.arange(len(files), dtype=np.int64)
    require(separator != "", "data.patient", "what ends the patient in a file's name", separator)
    without = next((file for file in files if separator not in file.stem), None)
    if without is not None:
        raise InputError(
            f"data.patient must be in the name of each image; got {separator!r}, which "
            f"{without.name!r} lacks"
        )
    names = [file.stem.partition(separator)[0] for file in files]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
