"""Ways of dividing patients among hospitals: by class, quantity, classes a hospital, site, or even.

Each gives every patient one hospital. Whoever adds a way writes a function and names it in
`SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from secure_fl.errors import InputError, near, require


@dataclass(frozen=True)
class Scheme:
    """How patients are divided among hospitals.

    Attributes:
        name: one of `SCHEMES`.
        alpha: concentration of the Dirichlet distribution, for `dirichlet` and `quantity`; small is
            uneven.
        classes: that each hospital holds, for `classes`.
        minimum_rows: guaranteed to each hospital.
    """

    name: str = "dirichlet"
    alpha: float = 0.3
    classes: int | None = None
    minimum_rows: int = 32

    def __post_init__(self) -> None:
        if self.name not in SCHEMES:
            hint = near(self.name, SCHEMES)
            raise InputError(
                f"partition must be one of {', '.join(SCHEMES)}; got {self.name!r}{hint}"
            )
        require(self.alpha > 0, "alpha", "> 0", self.alpha)
        require(self.minimum_rows >= 1, "minimum_rows", ">= 1", self.minimum_rows)


class Patients(NamedTuple):
    """Patients to divide, one entry each.

    Attributes:
        labels: int64 (p,), the class of each.
        sizes: int64 (p,), the rows of each.
        sites: int64 (p,), the site of each; None where the data tell none.
        site_names: what the numbers stand for.
    """

    labels: np.ndarray
    sizes: np.ndarray
    sites: np.ndarray | None = None
    site_names: tuple[str, ...] = ()


def assign(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """A hospital for each patient, int64 (p,), 0..hospitals-1; each has its `minimum_rows`.

    Raises:
        InputError: the patients do not suffice, or the scheme needs what the data do not have.
    """
    return SCHEMES[scheme.name](scheme, patients, hospitals, rng)


def _dirichlet(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """Class by class by proportions from Dirichlet(alpha); small hospitals are topped up.

    Ref: Hsu, Qi, Brown, arXiv:1909.06335, in the per-class form of Yurochkin et al., ICML 2019.
    """
    labels = patients.labels
    owners = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = rng.dirichlet(np.full(hospitals, scheme.alpha))
        cuts = (np.cumsum(share)[:-1] * len(members)).round().astype(np.int64)
        for hospital, chosen in enumerate(np.split(members, cuts)):
            owners[chosen] = hospital
    return top_up(owners, patients.sizes, hospitals, scheme.minimum_rows, rng)


def _quantity(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """Sizes by proportions from one Dirichlet(alpha), random patients; small ones are topped up.

    Ref: Li, Diao, Chen, He, ICDE 2022, arXiv:2102.02079, quantity skew.
    """
    order = rng.permutation(len(patients.labels))
    share = rng.dirichlet(np.full(hospitals, scheme.alpha))
    cuts = (np.cumsum(share)[:-1] * len(order)).round().astype(np.int64)
    owners = np.empty(len(order), np.int64)
    for hospital, chosen in enumerate(np.split(order, cuts)):
        owners[chosen] = hospital
    return top_up(owners, patients.sizes, hospitals, scheme.minimum_rows, rng)


def _classes(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """Each hospital holds `classes` classes; the patients of a class go evenly to its holders.

    Hospitals choose in turn, each a class that it lacks and that the fewest hold, ties by chance;
    so every class has a holder. Ref: Li, Diao, Chen, He, ICDE 2022, label skew by quantity, where
    the choice is free.
    """
    labels = np.unique(patients.labels)
    each = scheme.classes
    rule = f"from 1 to {len(labels)}, the classes of the data"
    if each is None or not 1 <= each <= len(labels):
        raise InputError(f"classes_per_hospital must be {rule}; got {each}")
    rule = f"at least {len(labels)}, so that each class has a hospital"
    places = hospitals * each
    require(places >= len(labels), "hospitals * classes_per_hospital", rule, places)
    holds = np.zeros((hospitals, len(labels)), bool)
    for _ in range(each):
        for hospital in rng.permutation(hospitals):
            holders = np.where(holds[hospital], hospitals + 1, holds.sum(axis=0))
            holds[hospital, rng.choice(np.flatnonzero(holders == holders.min()))] = True
    owners = np.empty(len(patients.labels), np.int64)
    for place, label in enumerate(labels):
        members = rng.permutation(np.flatnonzero(patients.labels == label))
        owners[members] = np.resize(np.flatnonzero(holds[:, place]), len(members))
    return _enough(owners, patients, hospitals, scheme, "its classes have too few patients")


def _column(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """Hospitals by site, each patient at its own.

    As many hospitals as sites: one each. More hospitals: each site has at least one, the others go
    to the sites with most rows a hospital, and a site's patients are dealt to its hospitals at
    random. Fewer: whole sites are dealt, the largest first, to the hospital with the fewest rows.
    """
    if patients.sites is None:
        raise InputError("partition column needs a site column: name it in data.site")
    sites, places = np.unique(patients.sites, return_inverse=True)
    rows = np.bincount(places, weights=patients.sizes)
    if hospitals <= len(sites):
        return _enough(_deal(rows, hospitals)[places], patients, hospitals, scheme, _SITES)
    count = np.ones(len(sites), np.int64)
    for _ in range(hospitals - len(sites)):
        count[np.argmax(rows / count)] += 1
    first = np.cumsum(count) - count
    owners = np.empty(len(places), np.int64)
    for site in range(len(sites)):
        members = rng.permutation(np.flatnonzero(places == site))
        owners[members] = first[site] + np.arange(len(members)) % count[site]
    return _enough(owners, patients, hospitals, scheme, _SITES)


def _iid(
    scheme: Scheme, patients: Patients, hospitals: int, rng: np.random.Generator
) -> np.ndarray:
    """Random patients, as many for each hospital; hospitals below the minimum are topped up."""
    owners = np.empty(len(patients.labels), np.int64)
    owners[rng.permutation(len(owners))] = np.arange(len(owners)) % hospitals
    return top_up(owners, patients.sizes, hospitals, scheme.minimum_rows, rng)


_SITES = "its sites have too few patients (there are {sites}; fewer hospitals join sites)"
SCHEMES: Mapping[str, Callable[[Scheme, Patients, int, np.random.Generator], np.ndarray]] = (
    MappingProxyType(
        {
            "dirichlet": _dirichlet,
            "quantity": _quantity,
            "classes": _classes,
            "column": _column,
            "iid": _iid,
        }
    )
)


def _enough(
    owners: np.ndarray, patients: Patients, hospitals: int, scheme: Scheme, why: str
) -> np.ndarray:
    """Refuse hospitals below the minimum where patients cannot be moved without breaking a scheme.

    Raises:
        InputError: naming the first such hospital and its rows.
    """
    held = _held(owners, patients.sizes, hospitals)
    short = np.flatnonzero(held < scheme.minimum_rows)
    if len(short):
        listed = ", ".join(patients.site_names)
        raise InputError(
            f"hospital {short[0]} must have at least {scheme.minimum_rows} rows (minimum_rows) "
            f"under partition {scheme.name}; got {held[short[0]]}: {why.format(sites=listed)}"
        )
    return owners


def top_up(
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
