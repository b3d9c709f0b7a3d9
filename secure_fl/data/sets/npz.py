"""NumPy arrays of your own, x and y, or a MedMNIST file (data.path=FILE.npz)."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from secure_fl.data.columns import check_name, classes, places
from secure_fl.data.dataset import Dataset
from secure_fl.errors import InputError, near

OPTIONS = ("patient", "site")
# Layout of MedMNIST (Yang et al., Scientific Data 2023): arrays of three splits.
SPLITS = ("train", "val", "test")
# Most bytes of one array, as its header states them before anything is read.
MAX_BYTES = 2**33
_WHITE = {"uint8": 255, "uint16": 65535}


def load(path: Path | None = None, patient: str | None = None, site: str | None = None) -> Dataset:
    """Read an `.npz` file, without executing anything in it.

    Either `x` and `y`, or MedMNIST's `train_images`, `train_labels` and so on. Its three splits are
    joined, since every federation divides the rows anew; results are not those of its official test
    split. It does not tell whose an image is, so each counts as a patient's only one.

    Args:
        path: the file. x of shape (rows, features): numbers, NaN where missing. Or images (rows,
            height, width), with 1 or 3 channels as second or last axis: uint8, uint16, or numbers
            in [0, 1]. y of shape (rows,) or (rows, 1): whole numbers or words.
        patient: name of an array (rows,) that tells whose each row is.
        site: name of an array (rows,) that tells where it comes from.

    Raises:
        InputError: a file or an array that does not fit; names it, the rule and the value.
    """
    if path is None or path.suffix != ".npz" or not path.is_file():
        got = None if path is None else str(path)
        raise InputError(f"data.path must be a file .npz of yours; got {got!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            medmnist = "x" not in names and "train_images" in names
            if medmnist:
                x = np.concatenate([_read(archive, names, f"{s}_images") for s in SPLITS])
                y = np.concatenate([_read(archive, names, f"{s}_labels") for s in SPLITS])
            else:
                x, y = _read(archive, names, "x"), _read(archive, names, "y")
            group, where = (
                None if name is None else _read(archive, names, name, role)
                for role, name in (("data.patient", patient), ("data.site", site))
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} cannot be read: {error}") from error
    x = _features(x)
    if y.ndim == 2 and y.shape[1] > 1:
        raise InputError(f"y must have one label a row; got {y.shape[1]}, of several findings")
    codes, class_names = classes("y", _column("y", y, len(x)))
    for name in class_names:
        check_name("the name of a class", name)
    patients = np.arange(len(x), dtype=np.int64)
    if group is not None:
        patients = places(str(patient), _column(str(patient), group, len(x)), "a patient")[0]
    at = None if where is None else places(str(site), _column(str(site), where, len(x)), "a site")
    columns = tuple(f"x{i}" for i in range(x.shape[1])) if x.ndim == 2 else ()
    return Dataset(
        name="npz",
        kind="tabular" if x.ndim == 2 else "image",
        x=x,
        y=codes,
        group=patients,
        feature_names=columns,
        class_names=class_names,
        site=None if at is None else at[0],
        site_names=() if at is None else at[1],
    )


def _read(
    archive: zipfile.ZipFile, names: Sequence[str], name: str, role: str = "data.path"
) -> np.ndarray:
    """One array; its header is held to the limit before memory is taken."""
    if name not in names:
        hint = near(name, names)
        raise InputError(f"{role} must have an array {name!r}; got {', '.join(names)}{hint}")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0
        shape, _, kind = header(file)
    size = math.prod(shape) * kind.itemsize
    if kind.hasobject:
        raise InputError(
            f"array {name} must hold numbers or words; got objects, which are not read"
        )
    if size > MAX_BYTES:
        raise InputError(f"array {name} must have at most {MAX_BYTES:,} bytes; got {size:,}")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _features(x: np.ndarray) -> np.ndarray:
    """float32 (N, F), or images (N, channels, height, width) in [0, 1].

    Raises:
        InputError: no shape, type or value that is clear.
    """
    if x.dtype.kind not in "iufb":
        raise InputError(f"x must hold numbers; got an array of {x.dtype}")
    if x.ndim == 2:
        values = x.astype(np.float32)
        if np.isinf(values).any():
            row = int(np.argwhere(np.isinf(values))[0][0])
            raise InputError(f"x must be finite or NaN; row {row} has infinity")
        return values
    if x.ndim == 4:
        channels = [axis for axis in (1, 3) if x.shape[axis] in (1, 3)]
        if len(channels) != 1:
            raise InputError(
                f"x must have 1 or 3 channels as its second or its last axis; got {x.shape}"
            )
        x = np.moveaxis(x, channels[0], 1)
    elif x.ndim == 3:
        x = x[:, None]
    else:
        raise InputError(f"x must be (rows, features) or images; got an array of shape {x.shape}")
    white = _WHITE.get(str(x.dtype), 1)
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    if not (low >= 0 and high <= white):  # NaN too
        raise InputError(
            f"x of images must be uint8, uint16 or lie in [0, 1]; got {x.dtype} from {low:g} to "
            f"{high:g}"
        )
    return np.ascontiguousarray(x, np.float32) / np.float32(white)


def _column(name: str, values: np.ndarray, rows: int) -> pd.Series:
    """An array (rows,) or (rows, 1) of whole numbers or words, as a column."""
    if values.size != rows or values.ndim not in (1, 2):
        raise InputError(f"array {name} must have {rows} values, one a row; got {values.shape}")
    if values.dtype.kind not in "iufbU":
        raise InputError(f"array {name} must hold whole numbers or words; got {values.dtype}")
    return pd.Series(values.reshape(-1))
