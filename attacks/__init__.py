"""Poisoning attacks, one a file; the file's name is the attack's name.

`names`, `describe` and `load` find them; `attacks.checks.check_attack` tests one of your own.
"""

from attacks.base import Attack, AttackView, attack, build, describe, find, load, names

__all__ = ["Attack", "AttackView", "attack", "build", "describe", "find", "load", "names"]
