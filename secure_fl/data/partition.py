"""Divide a data set among test, validators and hospitals, patient by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_fl.data.dataset import Dataset, FederatedData
from secure_fl.data.preprocessing import fit_apply
from secure_fl.errors import InputError, require

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
) -> FederatedData:
    """Divide and preprocess a data set; see `split_rows` for the rules and the errors.

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
) -> Indices:
    """Choose the rows of every party. All rows of a patient go to the same party.

    1. Random patients, until the fraction of rows is reached, become the test rows, and further
       ones the validators' rows.
    2. Half of the validators' patients are the root (half A); the others, the holdout (half B),
       are dealt to the validators in turn.
    3. The remaining patients go to hospitals: for each class, proportions are drawn from a
       symmetric Dirichlet(alpha) and the patients of that class (a patient's class is the most
       frequent one of the patient's rows) are divided by them.
       Ref: Hsu, Qi, Brown, arXiv:1909.06335, in the per-class form of Yurochkin et al.,
       ICML 2019.
    4. With small alpha the draw leaves some hospitals almost empty. While a hospital has fewer
       than `minimum_rows`, it receives random patients of the largest hospital. So the sizes
       are not exactly those drawn, and no hospital is empty.

    Some patients may have so many rows that this fails. Then those with more rows than 2 of each
    validator's patients may have go to the hospitals; hospitals in need receive the smallest
    patients that any other can spare; and if that does not do either, all patients are dealt anew,
    the largest first, each to the hospital with the fewest rows.

    Args:
        y: int64 (N,), labels.
        group: int64 (N,), patients.
        hospitals: how many.
        alpha: Dirichlet concentration; small is uneven.
        test_fraction, validation_fraction: shares of all rows, each in (0, 1), below 1 together.
        validators: how many share the holdout.
        seed: fixes every choice.
        minimum_rows: guaranteed to each hospital.
        root_patients: keep only this many patients of half A as the root; the rest are left
            unused. Default all.

    Raises:
        InputError: a parameter out of range, or too few patients to give each party its rows.
    """
    require(hospitals >= 1, "hospitals", ">= 1", hospitals)
    require(alpha > 0, "alpha", "> 0", alpha)
    require(0 < test_fraction < 1, "test_fraction", "in (0, 1)", test_fraction)
    require(0 < validation_fraction < 1, "validation_fraction", "in (0, 1)", validation_fraction)
    both = test_fraction + validation_fraction
    require(both < 1, "test_fraction + validation_fraction", "< 1", both)
    require(validators >= 1, "validators", ">= 1", validators)
    require(minimum_rows >= 1, "minimum_rows", ">= 1", minimum_rows)

    rng = np.random.default_rng(seed)
    patients, patient_of_row = np.unique(group, return_inverse=True)
    sizes = np.bincount(patient_of_row)
    order = rng.permutation(len(patients))
    test, validation, training = _cut(order, sizes, test_fraction, both)
    enough = sizes[training].sum() >= hospitals * minimum_rows
    if len(validation) < 2 * validators or not enough:
        # A few patients with many rows may have filled a party: they go to the hospitals.
        large = sizes[order] > validation_fraction * len(y) / (2 * validators)
        order = np.concatenate([order[~large], order[large]])
        test, validation, training = _cut(order, sizes, test_fraction, both)
    half = (len(validation) + 1) // 2
    root, holdout = validation[:half], validation[half:]
    if root_patients is not None:
        rule = f"in 1..{len(root)}, the patients of half A"
        require(1 <= root_patients <= len(root), "root_patients", rule, root_patients)
        root = root[:root_patients]
    rule = f"at most {len(holdout)}, the holdout patients of validation_fraction"
    require(len(holdout) >= validators, "data.validators", rule, validators)

    labels = _patient_labels(y, patient_of_row, len(patients))
    owners = _dirichlet(labels[training], hospitals, alpha, rng)
    owners = _top_up(owners, sizes[training], hospitals, minimum_rows, rng)

    def rows(chosen: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(patient_of_row, chosen))

    return Indices(
        hospitals=[rows(training[owners == i]) for i in range(hospitals)],
        root=rows(root),
        holdout=rows(holdout),
        validators=[rows(holdout[i::validators]) for i in range(validators)],
        test=rows(test),
    )


def _cut(
    order: np.ndarray, sizes: np.ndarray, test_fraction: float, both: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients for test, validators and hospitals, in the given order, by shares of the rows."""
    filled = np.cumsum(sizes[order])
    tested = int(np.searchsorted(filled, test_fraction * filled[-1])) + 1
    judged = int(np.searchsorted(filled, both * filled[-1])) + 1
    return order[:tested], order[tested:judged], order[judged:]


def _patient_labels(y: np.ndarray, patient_of_row: np.ndarray, patients: int) -> np.ndarray:
    """The most frequent class of each patient, the smaller one in a tie: int64 (patients,)."""
    counts = np.zeros((patients, int(y.max()) + 1), np.int64)
    np.add.at(counts, (patient_of_row, y), 1)
    return counts.argmax(axis=1)


def _dirichlet(
    labels: np.ndarray, hospitals: int, alpha: float, rng: np.random.Generator
) -> np.ndarray:
    """A hospital for each patient, class by class: int64 (patients,)."""
    owners = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = rng.dirichlet(np.full(hospitals, alpha))
        cuts = (np.cumsum(share)[:-1] * len(members)).round().astype(np.int64)
        for hospital, chosen in enumerate(np.split(members, cuts)):
            owners[chosen] = hospital
    return owners


def _top_up(
    owners: np.ndarray,
    sizes: np.ndarray,
    hospitals: int,
    minimum_rows: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move random patients from the largest hospital to any that is below the minimum.

    Raises:
        InputError: neither that nor `_spare` nor `_deal` gives each its rows.
    """
    if sizes.sum() >= hospitals * minimum_rows:
        drawn = owners.copy()
        held = _held(drawn, sizes, hospitals)
        while held.min() < minimum_rows:
            needy, donor = int(held.argmin()), int(held.argmax())
            candidates = np.flatnonzero(drawn == donor)
            moved = candidates[rng.integers(len(candidates))]
            if needy == donor or held[donor] - sizes[moved] < minimum_rows:
                break
            drawn[moved] = needy
            held[donor] -= sizes[moved]
            held[needy] += sizes[moved]
        for made in (drawn, _spare(drawn, sizes, hospitals, minimum_rows)):
            if _held(made, sizes, hospitals).min() >= minimum_rows:
                return made
        made = _deal(sizes, hospitals)
        if _held(made, sizes, hospitals).min() >= minimum_rows:
            return made
    raise InputError(
        f"{hospitals} hospitals must have at least {minimum_rows} rows each; the "
        f"{int(sizes.sum())} training rows of {len(sizes)} patients do not suffice"
    )


def _held(owners: np.ndarray, sizes: np.ndarray, hospitals: int) -> np.ndarray:
    """Rows of each hospital: int64 (hospitals,)."""
    return np.bincount(owners, weights=sizes, minlength=hospitals).astype(np.int64)


def _spare(owners: np.ndarray, sizes: np.ndarray, hospitals: int, minimum_rows: int) -> np.ndarray:
    """Give hospitals in need the smallest patients that others can spare, as long as there are."""
    owners, held = owners.copy(), _held(owners, sizes, hospitals)
    smallest = np.argsort(sizes, kind="stable")
    while held.min() < minimum_rows:
        needy = int(held.argmin())
        spared = sizes[smallest] <= held[owners[smallest]] - minimum_rows
        if not spared.any():
            break
        moved = smallest[int(spared.argmax())]
        held[owners[moved]] -= sizes[moved]
        held[needy] += sizes[moved]
        owners[moved] = needy
    return owners


def _deal(sizes: np.ndarray, hospitals: int) -> np.ndarray:
    """Deal patients anew, the largest first, each to the hospital with the fewest rows."""
    owners, held = np.empty(len(sizes), np.int64), np.zeros(hospitals, np.int64)
    for patient in np.argsort(-sizes, kind="stable"):
        owners[patient] = held.argmin()
        held[owners[patient]] += sizes[patient]
    return owners
