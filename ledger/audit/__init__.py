"""Audit of a chain file: executed again, recomputed, told in words."""

from ledger.audit.chain_file import audit

__all__ = ["audit"]
