"""The data package: shipped files, preprocessing, partition."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from secure_fl import data, seeds
from secure_fl.data import preprocessing
from secure_fl.data.dataset import Dataset, FederatedData, Split
from secure_fl.data.partition import split_rows
from secure_fl.data.schemes import top_up
from secure_fl.data.sets import lidc_nodules, support2
from secure_fl.errors import InputError


@pytest.fixture(scope="module")
def support() -> Dataset:
    return data.load("support2")


@pytest.fixture(scope="module")
def nodules() -> Dataset:
    return data.load("lidc_nodules")


def tiny(rows: int = 400, seed: int = 0) -> Dataset:
    """A table with holes, a categorical column, and several rows a patient."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    x[:, 2] = rng.integers(0, 3, rows)
    x[rng.random((rows, 3)) < 0.2] = np.nan
    y = rng.integers(0, 2, rows).astype(np.int64)
    group = rng.integers(0, rows // 2, rows).astype(np.int64)
    return Dataset("t", "tabular", x, y, group, ("a", "b", "c"), ("n", "p"), {"c": ("u", "v", "w")})


# --- registry and shipped files


def test_registry_lists_modules_with_a_load_function():
    assert {"support2", "lidc_nodules"} <= set(data.names())
    assert not {"partition", "registry", "dataset", "preprocessing"} & set(data.names())
    for name in data.names():
        assert len(data.describe(name)) > 20


def test_unknown_data_set_lists_the_real_ones():
    with pytest.raises(InputError, match=r"lidc_nodules.*support2.*got 'suport2'"):
        data.load("suport2")


def test_support2_matches_the_published_counts(support):
    assert support.x.shape == (9105, 36)
    assert int(support.y.sum()) == 2360
    assert len(support.categories) == 6
    missing = np.isnan(support.x[:, support.feature_names.index("adlp")]).mean()
    assert missing == pytest.approx(0.62, abs=0.005)


def test_support2_never_offers_a_leaking_column(support):
    leaks = set(support2.LEAKING) | set(support2.LATE) | {support2.LABEL}
    assert not leaks & set(support.feature_names)
    assert set(support2.LEAKING) >= {"sno", "death", "slos", "d.time", "charges", "totcst", "dnr"}


def test_support2_categories_decode_to_the_file(support):
    with gzip.open(Path(support2.__file__).with_name("support2.csv.gz")) as file:
        raw = pd.read_csv(file)
    codes = support.x[:, support.feature_names.index("race")]
    back = [None if np.isnan(c) else support.categories["race"][int(c)] for c in codes]
    assert back == [None if pd.isna(v) else v for v in raw["race"]]


def test_lidc_matches_the_published_counts(nodules):
    assert nodules.x.shape == (4224, 1, 32, 32)
    assert len(np.unique(nodules.group)) == 722
    assert nodules.y.mean() == pytest.approx(0.39, abs=0.01)
    assert (nodules.x.min(), nodules.x.max()) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("module", "name"), [(support2, "support2.csv.gz"), (lidc_nodules, "lidc_nodules.npz")]
)
def test_an_altered_file_is_refused(module, name, tmp_path):
    content = bytearray(Path(module.__file__).with_name(name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        module.load(tmp_path / name)


def test_data_set_rejects_wrong_shapes():
    x = np.zeros((2, 1), np.float32)
    one = np.zeros(1, np.int64)
    with pytest.raises(InputError, match="y must be of shape"):
        Dataset("t", "tabular", x, one, np.zeros(2, np.int64), ("a",), ("n", "p"))


# --- preprocessing


def test_scaler_against_pandas(support):
    """Oracle: the same medians, ranges and dummies by pandas."""
    root, other = support.x[::30], support.x[1::15]
    scaler = preprocessing.fit_scaler(root, support.feature_names, support.categories)
    got = pd.DataFrame(scaler.apply(other), columns=scaler.feature_names)

    frame, fitted = (pd.DataFrame(part, columns=support.feature_names) for part in (other, root))
    for name in support.feature_names:
        if name not in support.categories:
            low, high = fitted[name].min(), fitted[name].max()
            width = high - low if high > low else np.inf  # constant columns become 0
            want = (frame[name].fillna(fitted[name].median()) - low) / width
            np.testing.assert_allclose(got[name], want.clip(0, 1), atol=1e-6)
            continue
        for index, category in enumerate(support.categories[name]):
            column = f"{name}={category}"
            assert (column in got) == bool((fitted[name] == index).any())
            if column in got:
                np.testing.assert_array_equal(got[column], (frame[name] == index).astype(float))
        assert (f"{name}=missing" in got) == bool(fitted[name].isna().any())


def test_scaler_constant_empty_and_unseen_columns():
    root = np.array([[5, np.nan, 0], [5, np.nan, 0]], np.float32)
    scaler = preprocessing.fit_scaler(root, ("a", "b", "c"), {"c": ("u", "v")})
    assert scaler.feature_names == ("a", "b", "c=u")
    x = np.array([[9, 1, 1], [np.nan, np.nan, np.nan], [5, 5, 0]], np.float32)
    np.testing.assert_array_equal(scaler.apply(x), [[0, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_balance_repeats_only_the_rarer_class():
    y = torch.tensor([0] * 7 + [1] * 2)
    split = Split(torch.arange(9.0)[:, None] / 9, y)
    out = data.balance_classes(split, torch.Generator().manual_seed(0))
    assert torch.bincount(out.y).tolist() == [7, 7]
    assert torch.equal(out.x[:9], split.x)
    assert set(out.x[9:].flatten().tolist()) <= set(split.x[7:].flatten().tolist())
    again = data.balance_classes(split, torch.Generator().manual_seed(0))
    assert torch.equal(out.x, again.x)


def test_balance_leaves_one_class_alone():
    split = Split(torch.zeros(3, 2), torch.ones(3, dtype=torch.int64))
    out = data.balance_classes(split, torch.Generator().manual_seed(0))
    assert torch.equal(out.y, split.y)


# --- partition


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["support", "nodules"])
def test_partition_covers_every_row_once_and_keeps_patients_together(name, seed, request):
    ds = request.getfixturevalue(name)
    rows = split_rows(ds.y, ds.group, 20, 0.3, 0.2, 0.1, 5, seed)
    parts = [*rows.hospitals, rows.root, rows.holdout, rows.test]
    assert sorted(np.concatenate(parts)) == list(range(len(ds.y)))
    patients = [set(ds.group[p]) for p in parts]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert sorted(np.concatenate(rows.validators)) == sorted(rows.holdout)
    assert len(rows.test) == pytest.approx(0.2 * len(ds.y), rel=0.03)
    assert len(rows.root) + len(rows.holdout) == pytest.approx(0.1 * len(ds.y), rel=0.03)
    assert min(map(len, rows.hospitals)) >= 32


def test_dirichlet_concentration_controls_skew(support):
    def spread(alpha: float) -> float:
        rows = split_rows(support.y, support.group, 20, alpha, 0.2, 0.1, 5, 0)
        return float(np.std([support.y[h].mean() for h in rows.hospitals]))

    assert spread(0.3) > 0.2 > 0.05 > spread(100.0)


def test_partition_uses_no_statistic_outside_the_root():
    """Changing every value outside the root changes nothing about how the root is coded."""
    ds = tiny()
    rows = split_rows(ds.y, ds.group, 4, 1.0, 0.2, 0.2, 2, 3, minimum_rows=5)
    outside = np.setdiff1d(np.arange(len(ds.y)), rows.root)
    x = ds.x.copy()
    x[outside, :2] *= 1000
    x[outside, 2] = np.nan
    other = Dataset(
        ds.name, ds.kind, x, ds.y, ds.group, ds.feature_names, ds.class_names, ds.categories
    )
    args = {"hospitals": 4, "alpha": 1.0, "validation_fraction": 0.2, "validators": 2, "seed": 3}
    first, second = (data.partition(d, minimum_rows=5, **args) for d in (ds, other))
    assert torch.equal(first.root.x, second.root.x)
    assert first.feature_names == second.feature_names


def test_partition_is_seeded_and_in_range(support):
    one, two, other = (data.partition(support, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(one.hospitals, two.hospitals, strict=True))
    assert not torch.equal(one.test.x, other.test.x)
    for split in [*one.hospitals, one.root, one.holdout, one.test, *one.validators]:
        assert 0 <= split.x.min() <= split.x.max() <= 1
        assert split.x.shape[1:] == one.feature_shape


def test_smaller_root_is_a_subset_and_leaves_the_rest_alone(support):
    args = (support.y, support.group, 20, 0.3, 0.2, 0.1, 5, 0)
    full, small = split_rows(*args), split_rows(*args, root_patients=200)
    assert len(small.root) == 200
    assert set(small.root) <= set(full.root)
    assert np.array_equal(small.test, full.test)
    assert all(map(np.array_equal, small.hospitals, full.hospitals))


def divided(sizes, seed, hospitals, minimum_rows=32, validators=5):
    """Rows of each hospital where patients have these numbers of rows."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    y = (group % 3 == 0).astype(np.int64)
    rows = split_rows(
        y, group, hospitals, 0.3, 0.2, 0.1, validators, seed, minimum_rows=minimum_rows
    )
    parts = [*rows.hospitals, rows.root, rows.holdout, rows.test]
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    patients = [set(group[p]) for p in parts]
    assert sum(map(len, patients)) == len(sizes)
    assert min(map(len, rows.validators)) >= 1
    return [len(part) for part in rows.hospitals]


def test_one_patient_with_many_rows_is_no_reason_to_refuse():
    sizes = np.array([100] + [1] * 200)
    for seed in range(200):
        assert min(divided(sizes, seed, hospitals=4)) >= 32


@pytest.mark.parametrize("hospitals", [5, 20])
def test_heavy_tails_are_divided(hospitals):
    """Patients as on ChestX-ray14: most have one image or two, a few more than a hundred."""
    rng = np.random.default_rng(0)
    for seed in range(40):
        sizes = np.minimum(np.ceil(rng.pareto(1.1, 60 * hospitals)), 184).astype(int)
        assert min(divided(sizes, seed, hospitals)) >= 32


def test_rows_in_lumps_are_dealt_anew_where_none_can_be_spared():
    sizes, rng = np.array([50, 50, 10, 10]), np.random.default_rng(0)
    owners = top_up(np.array([0, 0, 1, 1]), sizes, 2, 60, rng)
    assert np.bincount(owners, weights=sizes).tolist() == [60, 60]
    with pytest.raises(InputError, match=r"2 hospitals must have at least 61 rows each; the 120"):
        top_up(np.array([0, 0, 1, 1]), sizes, 2, 61, rng)


@pytest.mark.parametrize(
    ("name", "seed", "digest"),
    [
        ("support2", 0, "045adce6f788ba37"),
        ("support2", 4, "e8b8e14afc1fec8e"),
        ("lidc_nodules", 0, "4eb88f6c2b53afb0"),
    ],
)
def test_partitions_of_the_shipped_data_stay_as_they_are(name, seed, digest):
    """Published results rest on them."""
    ds = data.load(name)
    rows = split_rows(
        ds.y, ds.group, 20, 0.3, 0.2, 0.1, 5, seeds.integer(seed, "partition"), minimum_rows=32
    )
    parts = [*rows.hospitals, rows.root, rows.holdout, *rows.validators, rows.test]
    content = b"".join(part.astype("<i8").tobytes() + b"|" for part in parts)
    assert hashlib.sha256(content).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hospitals": 0}, "hospitals must be >= 1"),
        ({"alpha": 0.0}, "alpha must be > 0"),
        ({"test_fraction": 1.0}, "test_fraction must be in"),
        ({"test_fraction": 0.9, "validation_fraction": 0.1}, "test_fraction \\+ validation"),
        ({"validators": 0}, "validators must be >= 1"),
        ({"validators": 10_000}, "data.validators must be at most 9, the holdout's patients"),
        ({"hospitals": 300}, "300 hospitals must have at least 32 rows each"),
        ({"root_patients": 0}, "root_patients must be in 1.."),
    ],
)
def test_partition_refuses(change, message):
    with pytest.raises(InputError, match=message):
        data.partition(tiny(), **({"hospitals": 2, "minimum_rows": 32} | change))


def test_a_hospital_without_data_is_refused():
    some = Split(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
    none = Split(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="hospital 1 must be given at least one row"):
        FederatedData([some, none], some, some, [some], some, (1,), ("a",), ("n", "p"))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_data(path: str) -> None:
    with pytest.raises(InputError, match=r"data\.path must be an existing file or folder"):
        data.load("support2", path)
