"""The typed client of the contract, and the connection that it sends through."""

from ledger.client.client import LedgerClient, RoundOutcome

__all__ = ["LedgerClient", "RoundOutcome"]
