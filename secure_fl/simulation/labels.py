"""One label of rows that have several, as an attack on it sees them: rows of class 0 or 1."""

from __future__ import annotations

from secure_fl.checks import check_name
from secure_fl.data import Split
from secure_fl.data.dataset import FederatedData
from secure_fl.errors import ConfigError


def label_of(name: str | None, data: FederatedData) -> int | None:
    """Place of the label that an attack is after; None of an attack on rows as they are.

    Args:
        name: the setting `attack.target_label`.
        data: whose labels.

    Raises:
        ConfigError: no such label, or rows that have one class.
    """
    if name is None:
        return None
    if not data.multilabel:
        raise ConfigError(
            f"attack.target_label must be null for data of one class a row; got {name!r}"
        )
    check_name("attack.target_label", name, data.class_names)
    return data.class_names.index(name)


def classes_of(data: FederatedData, label: int | None) -> int:
    """How many classes rows have for an attack."""
    return data.classes if label is None else 2


def seen(split: Split, label: int | None) -> Split:
    """Rows with the classes that an attack sees: y int64 (m,)."""
    return split if label is None else Split(split.x, split.y[:, label])


def put_back(changed: Split, before: Split, label: int | None) -> Split:
    """Rows that an attack returned, as many as before, with all labels but its own as they were."""
    if label is None:
        return changed
    y = before.y.clone()
    y[:, label] = changed.y
    return Split(changed.x, y)
