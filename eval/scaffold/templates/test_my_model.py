"""The model keeps the contract of all models, and has the size that it should have."""

import pytest
from my_model import my_model

import secure_fl
from secure_fl.testing import check_model


@pytest.mark.parametrize("shape", [(6,), (1, 4, 4)])
def test_the_contract(shape: tuple[int, ...]) -> None:
    check_model(my_model, shape, classes=3)


def test_the_number_of_parameters() -> None:
    module = my_model((6,), 3, width=8)
    assert sum(p.numel() for p in module.parameters()) == (6 * 8 + 8) + (8 * 3 + 3)


def test_a_width_of_zero_is_refused() -> None:
    with pytest.raises(secure_fl.InputError, match="width"):
        my_model((6,), 3, width=0)
