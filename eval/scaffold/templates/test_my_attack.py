"""The attack keeps the contract of all attacks, and does what its formula says."""

import torch
from my_attack import MyAttack

from attacks.samples import sample_view
from secure_fl.testing import check_attack


def test_the_contract() -> None:
    check_attack(MyAttack)


def test_the_formula() -> None:
    honest = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    own = torch.zeros(3, 2)
    view = sample_view(n=5, f=3, d=2)
    crafted = MyAttack(strength=2.0).craft(honest, own, view)
    assert crafted.tolist() == [[-4.0, 0.0]] * 3
