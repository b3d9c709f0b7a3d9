"""The node's own signatures: on shares received, on shares opened, on results.

The key comes with the node's start-up line, as a simulation's secret or as the path of a keystore
file with that file's password, and stays in this process. A node without a key does not import this
module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ledger.files import parse_json
from ledger.keys import Signature, Signer, recover
from ledger.members import Messages, verdicts
from ledger.merkle import share_digest, verify
from ledger.typed_data import Domain
from secure_fl.errors import InputError
from secure_fl.faults import DENIAL, DENIAL_WITHOUT_RECEIPT, FALSE_ACCUSATION
from secure_fl.hashes import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.mpc.door import Checked, NodeSession, Parcel
from secure_fl.mpc.sharing import SALT_BYTES
from secure_fl.runfolder import sha256


def read_signer(option: Mapping[str, str]) -> Signer:
    """The node's key, from its start-up line.

    Args:
        option: `{"secret": hex}`, or `{"keystore": path, "password": text}`.

    Raises:
        LedgerError: the file is missing, or the password is wrong.
    """
    if "secret" in option:
        return Signer(bytes.fromhex(option["secret"]))
    from ledger.keystore import read_key

    return read_key(Path(option["keystore"]), option["password"])


class Notary:
    """Signs for one session, for one contract.

    Args:
        signer: the node's key.
        rank: the node's number.
        ties: `chain_id`, `contract` and `hospitals` (addresses, hexadecimal) of the contract.
        faults: how this node cheats, as `[round, hospital, kind]` (`secure_fl.faults`); an honest
            one has none.
    """

    def __init__(
        self, signer: Signer, rank: int, ties: Mapping[str, Any], faults: Sequence[Sequence[Any]]
    ) -> None:
        self._signer, self._rank = signer, rank
        self._messages = Messages(Domain(ties["chain_id"], bytes.fromhex(ties["contract"])))
        self._hospitals = [bytes.fromhex(account) for account in ties["hospitals"]]
        self._faults = {(number, hospital): kind for number, hospital, kind in faults}
        # Of the round under way: what came in, signed for, with its digest; and what was not.
        self._kept: dict[int, tuple[Parcel, bytes]] = {}
        self._unsigned: set[int] = set()

    def _sign(self, digest: bytes) -> str:
        return self._signer.sign(digest).as_bytes().hex()

    def _cheats(self, number: int, hospital: int, *kinds: str) -> bool:
        return self._faults.get((number, hospital)) in kinds

    def receipts(self, session: NodeSession, number: int) -> dict[int, str]:
        """Sign for every share in the inbox; what its hospital did not sign is thrown out."""
        self._kept.clear()
        self._unsigned.clear()
        signed = {}
        for hospital, parcel in list(session.inbox.items()):
            digest = self._delivered(number, hospital, parcel)
            if digest is None:
                del session.inbox[hospital]
                self._unsigned.add(hospital)
                continue
            self._kept[hospital] = parcel, digest
            if not self._cheats(number, hospital, DENIAL_WITHOUT_RECEIPT):
                signed[hospital] = self._sign(self._messages.receipt(number, hospital, digest))
        return signed

    def _delivered(self, number: int, hospital: int, parcel: Parcel) -> bytes | None:
        """Digest of a share as delivered, or None if its hospital did not sign for it."""
        if len(parcel.message.salt) != SALT_BYTES or len(parcel.delivery) != 64:
            return None
        digest = share_digest(parcel.message.salt, parcel.message.share)
        said = self._messages.delivery(number, self._rank, digest)
        known = 0 <= hospital < len(self._hospitals)
        signer = recover(said, Signature.from_bytes(parcel.delivery))
        return digest if known and signer == self._hospitals[hospital] else None

    def statement(
        self, checked: Checked, roots: Mapping[int, bytes], posted_root: bytes
    ) -> tuple[Checked, dict[str, Any]]:
        """What this node says of the shares: who opened, and whom it accuses, all signed."""
        number = checked.round
        denied = [
            h
            for h in checked.rows
            if self._cheats(number, h, DENIAL, DENIAL_WITHOUT_RECEIPT, FALSE_ACCUSATION)
        ]
        claimed = checked.claimed.difference(denied)
        accused = [h for h in roots if h in self._kept and self._accusable(checked, h, roots[h])]
        signature = self._sign(self._messages.opened(number, posted_root, claimed))
        said = {
            "opened": sorted(claimed),
            "signature": signature,
            "accusations": [self._accusation(number, hospital) for hospital in accused],
        }
        unsigned = f"node {self._rank}: the hospital did not sign what it delivered"
        refused = {
            h: unsigned if h in self._unsigned else why for h, why in checked.refused.items()
        }
        return Checked(number, checked.rows, refused, claimed), said

    def _accusable(self, checked: Checked, hospital: int, root: bytes) -> bool:
        """Whether there is evidence: the commitment holds another digest than was delivered."""
        parcel, digest = self._kept[hospital]
        if self._cheats(checked.round, hospital, FALSE_ACCUSATION):
            return True
        proven = len(parcel.leaf) == 32 and verify(
            parcel.leaf, self._rank, parcel.message.proof, root
        )
        return hospital not in checked.rows and proven and parcel.leaf != digest

    def _accusation(self, number: int, hospital: int) -> dict[str, Any]:
        parcel, digest = self._kept[hospital]
        message = self._messages.accusation(number, hospital, self._rank, digest)
        return {
            "hospital": hospital,
            "delivered": digest.hex(),
            "delivery": parcel.delivery.hex(),
            "accusation": self._sign(message),
            "leaf": parcel.leaf.hex(),
            "proof": [part.hex() for part in parcel.message.proof],
        }

    def result(self, session: NodeSession, number: int, result: str, candidate: str) -> str:
        """Sign a result, if it is the hash of what this node opened itself.

        Args:
            session: with the last aggregation's result.
            number: the round.
            result: SHA-256, hexadecimal, that the coordinator states.
            candidate: hash of the model made from it. The node cannot tell what the coordinator
                made of the update; the validators judge the model.

        Raises:
            InputError: this node opened something else in this round, or nothing.
        """
        if session.result is None or session.result[0] != number:
            raise InputError(f"node {self._rank} will not sign: it combined nothing in {number}")
        if number in session.signed:
            raise InputError(f"node {self._rank} will not sign: round {number} has its result")
        _, in_play, own = session.result
        accepted = verdicts_on_hospitals(own.accepted, in_play)
        mine = result_hash(number, accepted, openings(number, own), update_hash(own.update))
        if mine != result:
            raise InputError(
                f"node {self._rank} will not sign: result {result} is not the hash of what it "
                f"opened in round {number}, {mine}"
            )
        session.signed[number] = result, candidate
        good, bad = verdicts(accepted)
        return self._sign(
            self._messages.result(
                number, bytes.fromhex(result), bytes.fromhex(candidate), good, bad
            )
        )

    def closing(
        self, session: NodeSession, number: int, candidate: str, records: bytes
    ) -> tuple[str, str]:
        """Sign a run's last entry, in which no hospital takes part, if its records say of every
        round what this node signed.

        Args:
            session: with what was signed.
            number: of the entry.
            candidate: hash of the final model.
            records: canonical JSON of all rows and openings, whose hash the entry records.

        Returns:
            Signatures on the statement that no share opened, and on the result.

        Raises:
            InputError: a round's record differs from what was signed, is missing, or is new.
        """
        rows, _ = parse_json(records.decode("utf-8"))
        told = {
            row["round"]: (row["result_sha256"], row["candidate_sha256"])
            for row in rows
            if row["round"] > 0
        }
        for each in sorted(told.keys() | session.signed.keys()):
            if told.get(each) != session.signed.get(each):
                raise InputError(
                    f"node {self._rank} will not sign: the records of round {each} are not "
                    "what it signed"
                )
        if number in told:
            raise InputError(f"node {self._rank} will not sign: entry {number} is a round")
        opened = self._sign(self._messages.opened(number, bytes(32), ()))
        digest = bytes.fromhex(sha256(records))
        result = self._messages.result(number, digest, bytes.fromhex(candidate), [], [])
        return opened, self._sign(result)
