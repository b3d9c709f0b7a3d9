"""The typed messages that members sign."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ledger.members.keys import Signature, Signer
from ledger.protocol.typed_data import Domain, to_words


@dataclass(frozen=True)
class Messages:
    """Digests to sign, for one chain and contract."""

    domain: Domain

    def commitment(self, round_number: int, model: bytes, root: bytes) -> bytes:
        """A hospital: in this round, starting from this model, my shares have this root."""
        return self.domain.digest("Commitment", round_number, model, root)

    def result(
        self,
        round_number: int,
        result: bytes,
        candidate: bytes,
        accepted: Sequence[int],
        rejected: Sequence[int],
    ) -> bytes:
        """A node: this is the aggregate, this the model from it, these hospitals are in or out."""
        return self.domain.digest(
            "Result", round_number, result, candidate, to_words(accepted), to_words(rejected)
        )

    def attestation(
        self, round_number: int, model: bytes, accuracy: int, loss: int, f1: int
    ) -> bytes:
        """A validator: on this model I measured these values, in units of 10**-18."""
        return self.domain.digest("Attestation", round_number, model, accuracy, loss, f1)

    def delivery(self, round_number: int, node: int, digest: bytes, root: bytes) -> bytes:
        """A hospital, sent along with a share: the share I send this node has this digest, and it
        opens this root, which is what I commit to."""
        return self.domain.digest("Delivery", round_number, node, digest, root)

    def receipt(self, round_number: int, hospital: int, digest: bytes, root: bytes) -> bytes:
        """A node, in return for a share: this hospital sent me the share with this digest, and it
        opened this root."""
        return self.domain.digest("Receipt", round_number, hospital, digest, root)

    def opened(self, round_number: int, posted_root: bytes, hospitals: Collection[int]) -> bytes:
        """A node: the shares that these hospitals sent me opened the roots that they signed with
        them. `posted_root` is the Merkle root of the round's commitments, zero where each was
        verified."""
        return self.domain.digest("Opened", round_number, posted_root, to_words(hospitals))

    def register(
        self, role: int, accounts: Sequence[bytes], certificates: Sequence[bytes], nonce: int
    ) -> bytes:
        """An administrator: these accounts get the next seats of the role."""
        return self.domain.digest("Register", role, accounts, certificates, nonce)

    def replace_key(
        self, role: int, index: int, account: bytes, certificate: bytes, nonce: int
    ) -> bytes:
        """An administrator: this member's key is now this one."""
        return self.domain.digest("ReplaceKey", role, index, account, certificate, nonce)

    def reinstate(self, hospital: int, nonce: int) -> bytes:
        """An administrator: this suspended hospital may return."""
        return self.domain.digest("Reinstate", hospital, nonce)

    def set_parameters(
        self, rule: Sequence[int], limits: Sequence[int], timing: Sequence[int], nonce: int
    ) -> bytes:
        """An administrator: from now on these parameters hold."""
        return self.domain.digest("SetParameters", rule, limits, timing, nonce)

    def head(self, number: int, block_hash: bytes) -> bytes:
        """A validator: the chain ends in this block."""
        return self.domain.digest("Head", number, block_hash)


def approvals(signers: Sequence[Signer], digest: bytes) -> list[Signature]:
    """Signatures in ascending order of the signers' addresses, as the contract wants them."""
    return [signer.sign(digest) for signer in sorted(signers, key=lambda s: s.address)]


def verdicts(accepted: Sequence[bool | None] | Mapping[int, bool]) -> tuple[list[int], list[int]]:
    """Accepted and rejected hospitals; None, or missing in a mapping, means absent."""
    pairs = list(accepted.items() if isinstance(accepted, Mapping) else enumerate(accepted))
    return (
        [int(i) for i, flag in pairs if flag is not None and bool(flag)],
        [int(i) for i, flag in pairs if flag is not None and not bool(flag)],
    )
