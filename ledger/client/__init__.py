"""The typed client, which carries, and a consortium whose members sit beside it."""

from ledger.client.client import LedgerClient
from ledger.client.consortium import Consortium
from ledger.client.outcome import RoundOutcome

__all__ = ["Consortium", "LedgerClient", "RoundOutcome"]
