"""Data that somebody has in memory: arrays of each party as the splits of a federation.

Nothing is guessed. What does not fit is refused with the party's name, the rule and the value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from secure_fl.data.dataset import FederatedData, Split, concatenate
from secure_fl.errors import InputError, require
from secure_fl.files import canonical_json

MAX_VALIDATORS, MAX_HOSPITALS = 32, 500
_HOW_TO_MAP = (
    "map them for all parties alike: names, y = numpy.unique(all_labels, return_inverse=True)"
)
_HOW_TO_SCALE = "scale them, or pass scale=True to use the range of the root's rows"


def from_arrays(
    hospitals: Sequence[Any],
    root: Any,
    validators: Sequence[Any],
    test: Any,
    class_names: Sequence[str] | None = None,
    scale: bool = False,
) -> FederatedData:
    """Divide nothing: every party's rows are the ones given.

    Args:
        hospitals: one (x, y) a hospital. x: numbers (m, features) or (m, channels, height, width),
            array, tensor or data frame, without NaN; y: whole numbers (m,), 0..C-1.
        root: (x, y), the validators' public rows.
        validators: one (x, y) a validator.
        test: (x, y), which only the final metrics see; all classes occur in it.
        class_names: names of the C classes; default: their numbers.
        scale: map features to [0, 1] by the smallest and largest value among the root's rows, of
            each column or of all pixels together; what lies outside is cut off. Without it,
            features must lie there.

    Raises:
        InputError: no party of a kind, rows of other shapes, labels that are not 0..C-1, a class
            without rows, values that are no numbers or not finite.
    """
    parties = {"root": root, "test": test}
    parties |= _listed(hospitals, "hospital", MAX_HOSPITALS)
    parties |= _listed(validators, "validator", MAX_VALIDATORS)
    splits = {name: _split(pair, name) for name, pair in parties.items()}
    shape = tuple(splits["root"].x.shape[1:])
    for name, split in splits.items():
        found = tuple(split.x.shape[1:])
        require(found == shape, f"features of {name}", f"of shape {shape}, as the root's", found)
    classes = _classes(splits)
    if scale:
        splits = _scaled(splits)
    for name, split in splits.items():
        low, high = float(split.x.min()), float(split.x.max())
        rule = f"in [0, 1] ({_HOW_TO_SCALE})"
        require(low >= 0 and high <= 1, f"features of {name}", rule, [low, high])
    names = tuple(str(c) for c in range(classes)) if class_names is None else tuple(class_names)
    require(len(names) == classes, "class_names", f"{classes}, one a class", names)
    held = [splits[name] for name in splits if name.startswith("validator ")]
    return FederatedData(
        hospitals=[splits[name] for name in splits if name.startswith("hospital ")],
        root=splits["root"],
        holdout=concatenate(held),
        validators=held,
        test=splits["test"],
        feature_shape=shape,
        feature_names=_columns(root, shape),
        class_names=names,
    )


def arrays_hash(data: FederatedData) -> str:
    """SHA-256 over all parties' rows and the names, as 64 hexadecimal digits."""
    parties = [*data.hospitals, data.root, *data.validators, data.test]
    head = {
        "hospitals": len(data.hospitals),
        "validators": len(data.validators),
        "shapes": [list(split.x.shape) for split in parties],
        "features": list(data.feature_names),
        "classes": list(data.class_names),
    }
    digest = hashlib.sha256(canonical_json(head).encode())
    for split in parties:
        for values in (split.x, split.y):
            digest.update(np.ascontiguousarray(values.numpy()).data)
    return digest.hexdigest()


def _listed(pairs: Any, role: str, most: int) -> dict[str, Any]:
    """Parties of one kind by name."""
    rule = f"a list of 1 to {most} pairs (x, y)"
    if not isinstance(pairs, Sequence) or isinstance(pairs, str | bytes):
        raise InputError(f"{role}s must be {rule}; got {type(pairs).__name__}")
    require(1 <= len(pairs) <= most, f"{role}s", rule, f"{len(pairs)}")
    return {f"{role} {i}": pair for i, pair in enumerate(pairs)}


def _split(pair: Any, name: str) -> Split:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(f"{name} must be a pair (x, y); got {type(pair).__name__}")
    x, y = _array(pair[0], f"features of {name}"), _array(pair[1], f"labels of {name}")
    rule = "of shape (rows, features) or (rows, channels, height, width)"
    require(x.ndim in (2, 4), f"features of {name}", rule, x.shape)
    require(min(x.shape) > 0, f"features of {name}", "not empty", x.shape)
    require(y.shape == x.shape[:1], f"labels of {name}", f"{len(x)}, one a row", y.shape)
    if x.dtype.kind not in "iufb":
        raise InputError(f"features of {name} must be numbers; got an array of {_kind(x)}")
    if y.dtype.kind not in "iu":
        raise InputError(
            f"labels of {name} must be whole numbers 0..C-1; got an array of {_kind(y)}: "
            f"{_HOW_TO_MAP}"
        )
    x = np.array(x, dtype=np.float32, order="C")
    if not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        raise InputError(f"features of {name} must be finite; row {row} has NaN or infinity")
    return Split(torch.from_numpy(x), torch.from_numpy(np.array(y, dtype=np.int64)))


def _array(values: Any, name: str) -> np.ndarray:
    """Whatever becomes an array."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{name} must be whole; got an array with masked values")
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"{name} must be rows of one length; got several lengths") from error


def _kind(array: np.ndarray) -> str:
    """The type of an array, and of objects an example."""
    if array.dtype.kind != "O":
        return str(array.dtype)
    return f"objects, such as {array.ravel()[0]!r}"


def _classes(splits: dict[str, Split]) -> int:
    """Number C of classes; every label lies in 0..C-1, and each has rows to learn and to test."""
    found = torch.cat([split.y for split in splits.values()]).unique().tolist()
    classes = found[-1] + 1
    if found != list(range(classes)) or classes < 2:
        raise InputError(
            f"labels must be 0..C-1 for C >= 2 classes, each with rows; got {_shown(found)}: "
            f"{_HOW_TO_MAP}"
        )
    trained = torch.cat([s.y for name, s in splits.items() if name.startswith("hospital ")])
    for who, y in (("the hospitals", trained), ("the test", splits["test"].y)):
        missing = sorted(set(found) - set(y.unique().tolist()))
        require(not missing, f"rows of {who}", f"of all {classes} classes", f"none of {missing}")
    return classes


def _shown(labels: list[int]) -> str:
    listed = ", ".join(map(str, labels[:8]))
    return f"{listed} and {len(labels) - 8} more" if len(labels) > 8 else listed


def _scaled(splits: dict[str, Split]) -> dict[str, Split]:
    """Features by the range of the root's; a column without one becomes 0."""
    x = splits["root"].x
    axes = 0 if x.ndim == 2 else (0, 1, 2, 3)
    low, high = x.amin(axes), x.amax(axes)
    width = torch.where(high > low, high - low, torch.inf)
    return {
        name: Split(((split.x - low) / width).clamp(0, 1), split.y)
        for name, split in splits.items()
    }


def _columns(root: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the root's columns, where it has any."""
    columns = getattr(root[0], "columns", None)
    if len(shape) > 1:
        return ()
    return tuple(f"x{i}" for i in range(shape[0])) if columns is None else tuple(map(str, columns))
