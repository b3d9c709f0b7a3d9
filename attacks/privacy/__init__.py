"""Attacks on what is opened: who reads an update, an aggregate or a model, and asks whose rows.

They send nothing and poison nothing, so they are no attacks of a run. `load(name)` builds one.
"""

from attacks.privacy.base import Membership, Opened, PrivacyAttack, Reconstruction, Shadows
from attacks.privacy.registry import find, load, names, privacy_attack

__all__ = [
    "Membership",
    "Opened",
    "PrivacyAttack",
    "Reconstruction",
    "Shadows",
    "find",
    "load",
    "names",
    "privacy_attack",
]
