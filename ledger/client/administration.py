"""Changes that need a quorum of administrators."""

from collections.abc import Sequence

from ledger.client.connection import Connection
from ledger.members.keys import Signature, Signer
from ledger.members.members import simulated_certificate
from ledger.protocol.messages import approvals
from ledger.protocol.parameters import Parameters

REGISTER_CHUNK = 128


class Administration:
    """Register, replace, reinstate and set parameters, each signed by `approvers`."""

    def __init__(self, connection: Connection, approvers: Sequence[Signer]) -> None:
        self._connection = connection
        self._approvers = approvers

    def register(
        self, role: int, accounts: Sequence[bytes], certificates: Sequence[bytes] | None = None
    ) -> None:
        """Give `accounts` the next seats of the role, with the hashes of their certificates."""
        if certificates is None:
            certificates = [simulated_certificate(account) for account in accounts]
        for start in range(0, len(accounts), REGISTER_CHUNK):
            some = list(accounts[start : start + REGISTER_CHUNK])
            theirs = list(certificates[start : start + REGISTER_CHUNK])
            digest = self._connection.messages.register(role, some, theirs, self.nonce())
            self._connection.send([("register", (role, some, theirs, self._approve(digest)))])

    def replace_key(
        self, role: int, index: int, account: bytes, certificate: bytes | None = None
    ) -> None:
        """Put a new key at a member's seat; a hospital keeps its reputation and standing."""
        if certificate is None:
            certificate = simulated_certificate(account)
        digest = self._connection.messages.replace_key(
            role, index, account, certificate, self.nonce()
        )
        args = (role, index, account, certificate, self._approve(digest))
        self._connection.send([("replace_key", args)])

    def reinstate(self, hospital: int) -> None:
        """Lift a hospital's suspension; it returns on probation."""
        digest = self._connection.messages.reinstate(hospital, self.nonce())
        self._connection.send([("reinstate", (hospital, self._approve(digest)))])

    def set_parameters(self, parameters: Parameters) -> None:
        """Change the parameters, between rounds."""
        words = parameters.rule_words(), parameters.limit_words(), parameters.timing_words()
        digest = self._connection.messages.set_parameters(*words, self.nonce())
        self._connection.send([("set_parameters", (*words, self._approve(digest)))])

    def nonce(self) -> int:
        """The number that the next change must be approved with."""
        return int(self._connection.read("nonce"))

    def _approve(self, digest: bytes) -> list[tuple[bytes, int]]:
        return [pair(signature) for signature in approvals(self._approvers, digest)]


def pair(signature: Signature) -> tuple[bytes, int]:
    """A signature as the contract's struct."""
    return signature.r, signature.vs
