"""Errors of the ledger, and the check that guards every entrance."""

from typing import Any


class LedgerError(Exception):
    """The ledger cannot do what was asked."""


class Reverted(LedgerError):
    """The contract refused a transaction; nothing of its block was recorded.

    Attributes:
        call: name of the contract function.
        reason: the contract's own words, e.g. ``"ledger: second commitment"``.
    """

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(f"{call} refused by the contract: {reason}")
        self.call = call
        self.reason = reason


class NodeUnavailable(LedgerError):
    """The node did not answer for as long as the client was willing to wait."""


class WrongChain(LedgerError):
    """The node serves another chain than the one expected."""


class NoFunds(LedgerError):
    """The key that carries transactions cannot pay for them."""


class ContractMissing(LedgerError):
    """There is no contract at the address, or not this one."""


class WrongMembers(LedgerError):
    """The contract seats others than those whose keys are here."""


def require(condition: bool, name: str, rule: str, value: Any) -> None:
    """Raise `ValueError` naming the argument, the rule and the value received."""
    if not condition:
        raise ValueError(f"{name} must be {rule}; got {value!r}")
