"""What the audits of both kinds of chain share: the verifier led from call to call."""

from collections.abc import Callable, Sequence

from ledger.audit.replay_verifier import ReplayVerifier
from ledger.protocol import contract
from ledger.protocol.contract import Log
from ledger.protocol.reputation import Standing
from ledger.protocol.words import hospital_record

# Calls that change what the contract holds of a hospital.
MOVING = {"register", "replace_key", "reinstate", "finalize"}


def follow(
    verifier: ReplayVerifier, block: int, data: bytes, succeeded: bool, logs: Sequence[Log]
) -> str:
    """Let the verifier see one transaction of the contract; returns the name of the call.

    Raises:
        LedgerError: it is no call of the contract, or creates another one.
    """
    if not succeeded:
        return "reverted"
    if not verifier.started:
        verifier.created(contract.decode_creation(data))
        return "__init__"
    name, args = contract.decode_call(data)
    verifier.called(block, name, args, [contract.decode_event(log) for log in logs])
    return name


def contract_words(
    call: Callable[[str, bytes, bytes], bytes], address: bytes, hospitals: int
) -> list[tuple[bytes, Standing]]:
    """The contract's own record of every hospital, by a read-only call."""
    name = "hospital_words"
    output = call(name, address, contract.encode_call(name, 0, hospitals))
    (words,) = contract.decode_output(name, output)
    return [(record.account, record.standing) for record in map(hospital_record, words)]
