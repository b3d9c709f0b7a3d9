"""Divide a data set among test, validators and hospitals, patient by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_fl.data.dataset import Dataset, FederatedData, Sites
from secure_fl.data.preprocessing import fit_apply
from secure_fl.data.schemes import Patients, Scheme, assign
from secure_fl.errors import require

# One batch: a hospital below it would take no full step in an epoch.
MINIMUM_ROWS = 32


@dataclass(frozen=True)
class Indices:
    """Row numbers of each party; each array is int64 and sorted. See `FederatedData`."""

    hospitals: list[np.ndarray]
    root: np.ndarray
    holdout: np.ndarray
    validators: list[np.ndarray]
    test: np.ndarray


def partition(
    dataset: Dataset,
    hospitals: int = 20,
    alpha: float = 0.3,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    validators: int = 5,
    seed: int = 0,
    *,
    minimum_rows: int = MINIMUM_ROWS,
    root_patients: int | None = None,
    scheme: str = Scheme.name,
    classes_per_hospital: int | None = None,
    site: str | None = None,
) -> FederatedData:
    """Divide and preprocess a data set; see `split_rows` for the rules and the errors.

    Args:
        dataset: the raw data.
        site: column of categories by which scheme `column` divides, where the data have no sites of
            their own.

    Returns:
        Splits with x in [0, 1], all of whose statistics were fitted on the root.
    """
    rows = split_rows(
        dataset.y,
        dataset.group,
        hospitals,
        alpha,
        test_fraction,
        validation_fraction,
        validators,
        seed,
        minimum_rows=minimum_rows,
        root_patients=root_patients,
        scheme=scheme,
        classes_per_hospital=classes_per_hospital,
        sites=dataset.sites(site) if scheme == "column" else None,
        tested=dataset.test,
    )
    order = [rows.root, rows.holdout, rows.test, *rows.validators, *rows.hospitals]
    splits, names = fit_apply(dataset, rows.root, order)
    return FederatedData(
        hospitals=splits[3 + validators :],
        root=splits[0],
        holdout=splits[1],
        validators=splits[3 : 3 + validators],
        test=splits[2],
        feature_shape=tuple(splits[0].x.shape[1:]),
        feature_names=names,
        class_names=dataset.class_names,
    )


def split_rows(
    y: np.ndarray,
    group: np.ndarray,
    hospitals: int,
    alpha: float,
    test_fraction: float,
    validation_fraction: float,
    validators: int,
    seed: int,
    *,
    minimum_rows: int = MINIMUM_ROWS,
    root_patients: int | None = None,
    scheme: str = Scheme.name,
    classes_per_hospital: int | None = None,
    sites: Sites | None = None,
    tested: np.ndarray | None = None,
) -> Indices:
    """Choose the rows of every party. All rows of a patient go to the same party.

    1. Random patients, until the fraction of rows is reached, become the test rows, and further
       ones the validators' rows. Where the data's makers set rows aside for tests, those are
       the test rows.
    2. Half of the validators' patients are the root (half A); the others, the holdout (half B),
       are dealt to the validators in turn.
    3. The remaining patients go to hospitals by one of the schemes of `secure_fl.data.schemes`: by
       default, for each class, proportions are drawn from a symmetric Dirichlet(alpha) and the
       patients of that class are divided by them. A patient's class, and its site, is the most
       frequent one of its rows; of rows with several labels the rarest label is the class, and to
       have none is a class too.
    4. Each hospital has at least `minimum_rows`. With small alpha the draw leaves some hospitals
       almost empty: while a hospital has fewer, it receives random patients of the largest one. So
       the sizes are not exactly those drawn. Under the schemes `classes` and `column`, where that
       would mix what they keep apart, such hospitals are refused.

    Some patients may have so many rows that this fails. Then those with more rows than 2 of each
    validator's patients may have go to the hospitals; hospitals in need receive the smallest
    patients that any other can spare; and if that does not do either, all patients are dealt anew,
    the largest first, each to the hospital with the fewest rows.

    Args:
        y: int64 (N,), labels; or (N, L) of 0 and 1.
        group: int64 (N,), patients.
        hospitals: how many.
        alpha: Dirichlet concentration; small is uneven.
        test_fraction, validation_fraction: shares of all rows, each in (0, 1), below 1 together.
        validators: how many share the holdout.
        seed: fixes every choice.
        minimum_rows: guaranteed to each hospital.
        root_patients: keep only this many patients of half A as the root; the rest are left
            unused. Default all.
        scheme: how hospitals get their patients, one of `secure_fl.data.schemes.SCHEMES`.
        classes_per_hospital: for scheme `classes`.
        sites: of each row, for scheme `column`.
        tested: bool (N,), rows that the data's makers set aside; `test_fraction` is then unused.

    Raises:
        InputError: a parameter out of range, or too few patients to give each party its rows.
    """
    require(hospitals >= 1, "hospitals", ">= 1", hospitals)
    how = Scheme(scheme, alpha, classes_per_hospital, minimum_rows)
    require(0 < test_fraction < 1, "test_fraction", "in (0, 1)", test_fraction)
    require(0 < validation_fraction < 1, "validation_fraction", "in (0, 1)", validation_fraction)
    both = test_fraction + validation_fraction
    require(both < 1, "test_fraction + validation_fraction", "< 1", both)
    require(validators >= 1, "validators", ">= 1", validators)

    rng = np.random.default_rng(seed)
    patients, patient_of_row = np.unique(group, return_inverse=True)
    sizes = np.bincount(patient_of_row)
    order = rng.permutation(len(patients))
    official = None if tested is None else _whole(tested, patient_of_row, patients)
    test, validation, training = _cut(order, sizes, test_fraction, both, official)
    enough = sizes[training].sum() >= hospitals * minimum_rows
    if len(validation) < 2 * validators or not enough:
        # A few patients with many rows may have filled a party: they go to the hospitals.
        large = sizes[order] > validation_fraction * len(y) / (2 * validators)
        order = np.concatenate([order[~large], order[large]])
        test, validation, training = _cut(order, sizes, test_fraction, both, official)
    half = (len(validation) + 1) // 2
    root, holdout = validation[:half], validation[half:]
    if root_patients is not None:
        rule = f"in 1..{len(root)}, the patients of half A"
        require(1 <= root_patients <= len(root), "root_patients", rule, root_patients)
        root = root[:root_patients]
    rule = (
        f"at most {len(holdout)}, the holdout's patients, of {len(patients)} in all by "
        "data.validation_fraction (where data.rows is set, a larger one gives more)"
    )
    require(len(holdout) >= validators, "data.validators", rule, validators)

    labels = _most_frequent(strata(y), patient_of_row, len(patients))
    place, names = (None, ()) if sites is None else sites
    homes = None if place is None else _most_frequent(place, patient_of_row, len(patients))
    divided = Patients(
        labels[training], sizes[training], None if homes is None else homes[training], names
    )
    owners = assign(how, divided, hospitals, rng)

    def rows(chosen: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(patient_of_row, chosen))

    return Indices(
        hospitals=[rows(training[owners == i]) for i in range(hospitals)],
        root=rows(root),
        holdout=rows(holdout),
        validators=[rows(holdout[i::validators]) for i in range(validators)],
        test=rows(test),
    )


def strata(y: np.ndarray) -> np.ndarray:
    """The class by which a row is divided: int64 (N,).

    Of rows with several labels (N, L): 0 without any, else 1 + the one that the fewest rows have,
    the first of equals.
    """
    if y.ndim == 1:
        return y
    rarest = np.argsort(y.sum(axis=0), kind="stable")
    return np.where(y.any(axis=1), 1 + rarest[y[:, rarest].argmax(axis=1)], 0)


def _whole(tested: np.ndarray, patient_of_row: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Which patients are set aside for tests: bool (patients,).

    Raises:
        InputError: only some of a patient's rows are, or everybody is, or nobody.
    """
    share = np.bincount(patient_of_row, weights=tested) / np.bincount(patient_of_row)
    torn = patients[(share > 0) & (share < 1)]
    rule = "all of a patient's rows or none"
    require(len(torn) == 0, "rows for tests", rule, f"some of patient {torn[:1]}")
    require(0 < share.sum() < len(share), "rows for tests", "of some patients", share.sum())
    return share > 0


def _cut(
    order: np.ndarray,
    sizes: np.ndarray,
    test_fraction: float,
    both: float,
    official: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients for test, validators and hospitals, in the given order, by shares of the rows."""
    if official is not None:
        rest = order[~official[order]]
        judged = int(np.searchsorted(np.cumsum(sizes[rest]), (both - test_fraction) * sizes.sum()))
        return order[official[order]], rest[: judged + 1], rest[judged + 1 :]
    filled = np.cumsum(sizes[order])
    tested = int(np.searchsorted(filled, test_fraction * filled[-1])) + 1
    judged = int(np.searchsorted(filled, both * filled[-1])) + 1
    return order[:tested], order[tested:judged], order[judged:]


def _most_frequent(values: np.ndarray, patient_of_row: np.ndarray, patients: int) -> np.ndarray:
    """The most frequent value of each patient, the smaller one in a tie: int64 (patients,)."""
    counts = np.zeros((patients, int(values.max()) + 1), np.int64)
    np.add.at(counts, (patient_of_row, values), 1)
    return counts.argmax(axis=1)
