"""Ways of dividing patients among hospitals, each against what it promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secure_fl import data
from secure_fl.data.dataset import Dataset
from secure_fl.data.partition import Indices, split_rows
from secure_fl.data.schemes import SCHEMES
from secure_fl.errors import ConfigError, InputError
from secure_fl.settings.config import load_config

CLASSES, SITES = 10, ("north", "south", "west")


@pytest.fixture(scope="module")
def table() -> Dataset:
    """3,000 rows of patients with one or two each, ten classes, three sites of unequal size."""
    rng = np.random.default_rng(0)
    group = np.sort(rng.integers(0, 2000, 3000))
    _, group = np.unique(group, return_inverse=True)
    y = rng.integers(0, CLASSES, group.max() + 1)[group]
    site = rng.choice(3, group.max() + 1, p=[0.7, 0.2, 0.1])[group]
    x = np.column_stack([site, y]).astype(np.float32)
    names = {"ward": SITES}
    classes = tuple(map(str, range(CLASSES)))
    return Dataset("t", "tabular", x, y, group, ("ward", "b"), classes, names)


def divide(table: Dataset, scheme: str, hospitals: int = 10, **more: object) -> Indices:
    return split_rows(table.y, table.group, hospitals, 0.5, 0.2, 0.1, 3, 7, scheme=scheme, **more)


def classes_held(table: Dataset, rows: Indices) -> np.ndarray:
    """Rows by hospital and class: (hospitals, classes)."""
    return np.array([np.bincount(table.y[h], minlength=CLASSES) for h in rows.hospitals])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_divides_what_the_others_leave(table: Dataset, scheme: str) -> None:
    """Test, root and holdout are drawn before and are the same; no patient is in two parties."""
    more = {"classes": {"classes_per_hospital": 3}, "column": {"sites": table.sites("ward")}}
    rows, default = divide(table, scheme, **more.get(scheme, {})), divide(table, "dirichlet")
    for mine, other in zip(
        (rows.test, rows.root, rows.holdout),
        (default.test, default.root, default.holdout),
        strict=True,
    ):
        assert np.array_equal(mine, other)
    parts = [*rows.hospitals, rows.root, rows.holdout, rows.test]
    assert sorted(np.concatenate(parts)) == list(range(len(table.y)))
    patients = [set(table.group[part]) for part in parts]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert min(map(len, rows.hospitals)) >= 32


def test_quantity_is_uneven_in_size_alone(table: Dataset) -> None:
    """Sizes spread as Dirichlet(0.5) does; each class's share stays what chance makes it."""
    held = classes_held(table, divide(table, "quantity"))
    alike = divide(table, "iid")
    assert np.ptp([len(set(table.group[part])) for part in alike.hospitals]) <= 1
    even = classes_held(table, alike)
    sizes = held.sum(axis=1)
    assert sizes.max() > 5 * sizes.min()
    for rows in (held, even):
        expected = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
        # Pearson's chi-square of 81 degrees, doubled since some patients have two rows.
        assert ((rows - expected) ** 2 / expected).sum() < 2 * 125


@pytest.mark.parametrize(("each", "hospitals"), [(1, 10), (2, 7), (3, 20), (10, 4)])
def test_classes_a_hospital(table: Dataset, each: int, hospitals: int) -> None:
    """Each has so many, all have a holder, and holders share a class's patients evenly."""
    rows = divide(table, "classes", hospitals, classes_per_hospital=each, minimum_rows=1)
    held = classes_held(table, rows)
    assert ((held > 0).sum(axis=1) == each).all()
    holders = (held > 0).sum(axis=0)
    assert holders.min() >= 1
    assert np.ptp(holders) <= 1
    for label in range(CLASSES):
        own = [
            len(set(table.group[h[table.y[h] == label]]))
            for h in rows.hospitals
            if (table.y[h] == label).any()
        ]
        assert max(own) - min(own) <= 1


def test_sites_stay_apart(table: Dataset) -> None:
    site, _ = table.sites("ward")

    def sites(hospitals: int) -> list[set[int]]:
        rows = divide(table, "column", hospitals, sites=table.sites("ward"))
        return [set(site[part].tolist()) for part in rows.hospitals]

    assert sites(3) == [{0}, {1}, {2}]
    assert sites(6) == [{0}, {0}, {0}, {0}, {1}, {2}]  # 7 : 2 : 1 is nearest to 4 : 1 : 1
    assert sites(2) == [{0}, {1, 2}]


def test_a_patient_belongs_where_most_of_its_rows_are(table: Dataset) -> None:
    """The site of a patient's rows need not be one; the patient stays whole."""
    group = table.group
    several = next(g for g in np.unique(group) if (group == g).sum() == 3)
    codes = table.sites("ward")[0].copy()
    codes[group == several] = [2, 1, 2]
    own = replace(table, site=codes, site_names=SITES)
    assert own.sites("ward")[0] is codes  # sites of its own go before a column
    rows = divide(own, "column", 3, sites=own.sites(), minimum_rows=1)
    (home,) = [i for i, part in enumerate(rows.hospitals) if several in group[part]] or [2]
    assert home == 2
    some = own.take(np.arange(10))
    assert np.array_equal(some.site, codes[:10])


def test_missing_values_are_a_site_of_their_own() -> None:
    x = np.array([[0.0], [np.nan], [1.0]], np.float32)
    one = np.zeros(3, np.int64)
    ds = Dataset("t", "tabular", x, one, np.arange(3), ("ward",), ("n", "p"), {"ward": ("u", "v")})
    codes, names = ds.sites("ward")
    assert (codes.tolist(), names) == ([0, 2, 1], ("u", "v", "missing"))


def test_what_a_scheme_cannot_keep_is_refused_by_name(table: Dataset) -> None:
    with pytest.raises(InputError, match=r"partition must be one of .*did you mean quantity"):
        divide(table, "quantty")
    with pytest.raises(InputError, match=r"classes_per_hospital must be from 1 to 10.*got 11"):
        divide(table, "classes", classes_per_hospital=11)
    with pytest.raises(InputError, match=r"hospitals \* classes_per_hospital must be at least 10"):
        divide(table, "classes", 4, classes_per_hospital=2)
    sites = table.sites("ward")
    with pytest.raises(InputError, match=r"hospital 1 must have at least 500 rows.*north, south"):
        divide(table, "column", 3, sites=sites, minimum_rows=500)
    with pytest.raises(InputError, match=r"data\.site must be .*\(ward\); got 'b'"):
        data.partition(table, scheme="column", site="b")
    with pytest.raises(InputError, match="300 hospitals must have at least 32 rows each"):
        divide(table, "iid", 300)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.partition=shards"], r"data\.partition must be one of dirichlet, quantity"),
        (["data.partition=classes"], r"data\.classes_per_hospital must be at least 1 with"),
        (["data.classes_per_hospital=2"], r"must be null unless data\.partition is classes"),
        (["data.partition=column"], r"data\.site must be the name of a column"),
        (["data.site=dzgroup"], r"data\.site must be null unless data\.partition is column"),
    ],
)
def test_settings_that_do_not_fit_together(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overrides)
