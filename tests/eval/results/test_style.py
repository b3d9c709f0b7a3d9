"""Names for people."""

import pytest

import attacks
from eval.results.style import attack_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("label_flip", "Label flip"),
        ("optimal_ipm", "Optimal IPM"),
        ("a3fl", "A3FL"),
        ("pgd_backdoor", "PGD backdoor"),
        ("min_max", "Min-Max"),
        ("none", "No attack"),
        ("my_module:my_attack", "My attack"),
    ],
)
def test_attacks_are_written_as_the_field_writes_them(name: str, label: str) -> None:
    assert attack_label(name) == label


def test_no_two_attacks_have_one_name() -> None:
    labels = [attack_label(name) for name in attacks.names()]
    assert len(set(labels)) == len(labels)
