"""The contract's packed storage words, unpacked."""

from dataclasses import dataclass

from ledger.protocol.reputation import Standing


@dataclass(frozen=True)
class HospitalRecord:
    """A hospital's word: its key and its standing."""

    account: bytes
    standing: Standing


def hospital_record(word: int) -> HospitalRecord:
    """Unpack: bits 0-159 key, 160-223 reputation, 224-231 streak, 232 suspended, 240- probation."""
    return HospitalRecord(
        account=(word & (2**160 - 1)).to_bytes(20, "big"),
        standing=Standing(
            reputation=word >> 160 & (2**64 - 1),
            streak=word >> 224 & 255,
            suspended=bool(word >> 232 & 1),
            probation=word >> 240,
        ),
    )
