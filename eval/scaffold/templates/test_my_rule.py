"""The rule keeps the contract of all rules, in the clear and in shares, and does what it says."""

import pytest
import torch
from my_rule import my_rule

import secure_fl
from secure_fl.testing import check_rule


def test_the_contract() -> None:
    check_rule(my_rule, nodes=2)  # two computing nodes and a dealer, processes of their own


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_a_long_update_is_rejected(backend: str) -> None:
    updates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [4.0, 4.0]])
    result = secure_fl.aggregate(updates, my_rule(), backend=backend)
    assert result.accepted.tolist() == [True, True, True, False]
    assert result.update.tolist() == [1.0, 1.0]  # the median of the first three


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(secure_fl.InputError, match="factor"):
        my_rule(0.5)
