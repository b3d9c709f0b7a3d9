"""Checks that attacks, rules, data sets and models must pass, shipped ones and ones of your own.

Each raises `AssertionError`, whose message says which rule was broken.
"""

from attacks.checks import check_attack
from secure_fl.testing.data import check_data
from secure_fl.testing.models import check_model
from secure_fl.testing.rules import check_rule

__all__ = ["check_attack", "check_data", "check_model", "check_rule"]
