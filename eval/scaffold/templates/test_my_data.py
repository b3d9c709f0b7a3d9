"""The data set keeps the contract of all data sets, and holds what it says."""

import numpy as np
from my_data import my_data

from secure_fl.testing import check_data


def test_the_contract() -> None:
    check_data(my_data)


def test_rings_lie_one_around_the_other() -> None:
    data = my_data(None)
    radius = np.linalg.norm(data.x, axis=1)
    inner, middle, outer = (radius[data.y == ring].mean() for ring in range(3))
    assert inner < middle < outer


def test_rows_of_a_patient_have_one_label() -> None:
    data = my_data(None)
    assert len(np.unique(data.group)) == len(np.unique(data.group * 3 + data.y))
