"""Poisoning attacks, one a file; the file's name is the attack's name.

`names`, `find` and `load` know them; `attacks.checks.check_attack` tests one of your own.
"""

from attacks.base import Attack, AttackView, Misconduct
from attacks.registry import attack, build, find, is_attack, load, names

__all__ = [
    "Attack",
    "AttackView",
    "Misconduct",
    "attack",
    "build",
    "find",
    "is_attack",
    "load",
    "names",
]
