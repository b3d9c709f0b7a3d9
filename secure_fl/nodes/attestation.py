"""The node's own signatures: on shares received, on shares opened, on results.

The key comes with the node's start-up line, as a simulation's secret or as the path of a keystore
file with that file's password, and stays in this process. A node without a key does not import this
module.

Nothing that the coordinator says can make an honest node sign what convicts it. A receipt says that
a share opened the root which its hospital signed, and the statement on opened shares names exactly
those that have a receipt, whatever roots the coordinator names. The node's memory lets it take a
round of a contract once, so that there is one statement and one result for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ledger.files import parse_json
from ledger.members.keys import Signature, Signer, recover
from ledger.protocol.merkle import share_digest
from ledger.protocol.messages import verdicts
from secure_fl.errors import InputError, require
from secure_fl.fields import Short
from secure_fl.files import sha256
from secure_fl.nodes.answers import Evidence, Statement
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.fields import HASH
from secure_fl.nodes.inbox import Checked, NodeSession
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.nodes.shares import SALT_BYTES, Delivery


def read_signer(option: Mapping[str, str]) -> Signer:
    """The node's key, from its start-up line.

    Args:
        option: `{"secret": hex}`, or `{"keystore": path, "password": text}`.

    Raises:
        LedgerError: the file is missing, or the password is wrong.
    """
    if "secret" in option:
        return Signer(bytes.fromhex(option["secret"]))
    from ledger.members.keystore import read_key

    return read_key(Path(option["keystore"]), option["password"])


class Held(NamedTuple):
    """A share that opened the root which its hospital signed with it.

    Attributes:
        row: the share, int64 (d,).
        digest: of the share with its salt.
        root: that it opened.
        delivery: the hospital's signature on both.
    """

    row: np.ndarray
    digest: bytes
    root: bytes
    delivery: bytes


class Attester:
    """Signs for one session, for one contract.

    Args:
        signer: the node's key.
        session: whose shares it signs for.
        contract: that it signs for.
    """

    def __init__(self, signer: Signer, session: NodeSession, contract: Contract) -> None:
        self._signer, self._session, self._rank = signer, session, session.rank
        self._contract, self._messages = contract, contract.messages
        # The round under way, what came in for it, and why other shares did not.
        self._round = 0
        self._held: dict[int, Held] = {}
        self._refused: dict[int, str] = {}

    def _sign(self, digest: bytes) -> bytes:
        return self._signer.sign(digest).as_bytes()

    def _claim(self, number: int) -> None:
        """Take a round of the contract for this session, before anything is signed for it."""
        try:
            contract = self._contract
            self._session.memory.claim(contract.chain_id, contract.address, number)
        except InputError as error:
            raise InputError(f"node {self._rank} will not sign: {error}") from error

    def receipts(self, number: int) -> dict[int, bytes]:
        """Sign for every share that opens the root which its hospital signed for it.

        Raises:
            InputError: the round was taken before.
        """
        require(number > self._session.seen, "round", f"above {self._session.seen}", number)
        self._claim(number)
        self._round, self._held = number, {}
        parcels = dict(self._session.inbox)
        signed = {h: parcel.root for h, parcel in parcels.items() if self._is_signed(h, parcel)}
        rows, self._refused = self._session.opened(signed)
        for hospital in parcels.keys() - signed.keys():
            self._refused[hospital] = (
                f"node {self._rank}: the hospital did not sign what it delivered"
            )
        for hospital, row in rows.items():
            parcel = parcels[hospital]
            digest = share_digest(parcel.message.salt, parcel.message.share)
            self._held[hospital] = Held(row, digest, parcel.root, parcel.signature)
        return {
            hospital: self._sign(self._messages.receipt(number, hospital, held.digest, held.root))
            for hospital, held in self._held.items()
        }

    def _is_signed(self, hospital: int, parcel: Delivery) -> bool:
        """Whether the hospital signed for this share, its root and this node."""
        sizes = (len(parcel.message.salt), len(parcel.root), len(parcel.signature))
        if sizes != (SALT_BYTES, 32, 64) or hospital >= len(self._contract.hospitals):
            return False
        digest = share_digest(parcel.message.salt, parcel.message.share)
        said = self._messages.delivery(self._round, self._rank, digest, parcel.root)
        return (
            recover(said, Signature.from_bytes(parcel.signature))
            == (self._contract.hospitals[hospital])
        )

    def statement(
        self, number: int, roots: Mapping[int, bytes], posted_root: bytes
    ) -> tuple[Checked, Statement]:
        """What this node says of the shares: whose opened, signed; and what proves, by the
        hospital's own signature, that one was delivered under another root than it committed to.

        Args:
            number: the round.
            roots: commitments, by hospital, as the coordinator says. Only where that is what the
                hospital signed does its share go on; the statement does not depend on them.
            posted_root: root over them where the chain holds one, else zero.

        Raises:
            InputError: this session took no shares in the round, or has stated.
        """
        if number != self._round:
            raise InputError(f"node {self._rank} will not sign: it took no shares in {number}")
        self._session.begin(number)
        rows, refused = {}, dict(self._refused)
        for hospital, root in roots.items():
            if hospital not in self._held:
                refused.setdefault(hospital, f"node {self._rank} has no share")
            elif self._held[hospital].root != root:
                refused[hospital] = (
                    f"node {self._rank}: delivered under another root than is committed to"
                )
            else:
                rows[hospital] = self._held[hospital].row
        claimed = self._claimed(number)
        said = Statement(
            sorted(claimed),
            self._sign(self._messages.opened(number, posted_root, claimed)),
            [
                self._evidence(hospital)
                for hospital in roots
                if hospital in self._held and hospital not in rows
            ],
            refused,
        )
        self._held = {}
        return Checked(number, rows, refused, claimed, roots), said

    def _claimed(self, number: int) -> frozenset[int]:
        """Whose shares opened: those that have a receipt."""
        return frozenset(self._held)

    def _evidence(self, hospital: int) -> Evidence:
        held = self._held[hospital]
        return Evidence(hospital, held.digest, held.root, held.delivery)

    def result(self, number: int, result: str, candidate: str) -> bytes:
        """Sign a result, if it is the hash of what this node opened itself.

        Args:
            number: the round.
            result: SHA-256, hexadecimal, that the coordinator states.
            candidate: hash of the model made from it. The node cannot tell what the coordinator
                made of the update; the validators judge the model.

        Raises:
            InputError: this node opened something else in this round, or nothing.
        """
        session = self._session
        if session.result is None or session.result[0] != number or number != self._round:
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

    def closing(self, number: int, candidate: str, records: bytes) -> tuple[bytes, bytes]:
        """Sign a run's last entry, in which no hospital takes part, if its records say of every
        round what this node signed.

        Args:
            number: of the entry.
            candidate: hash of the final model.
            records: canonical JSON of all rows and openings, whose hash the entry records.

        Returns:
            Signatures on the statement that no share opened, and on the result.

        Raises:
            InputError: a round's record differs from what was signed, is missing, or is new; the
                entry is a round for which this node took shares; or they are no records.
        """
        told = _told(records)
        signed = self._session.signed
        for each in sorted(told.keys() | signed.keys()):
            if told.get(each) != signed.get(each):
                raise InputError(
                    f"node {self._rank} will not sign: the records of round {each} are not "
                    "what it signed"
                )
        if number in told:
            raise InputError(f"node {self._rank} will not sign: entry {number} is a round")
        self._claim(number)
        opened = self._sign(self._messages.opened(number, bytes(32), ()))
        digest = bytes.fromhex(sha256(records))
        result = self._messages.result(number, digest, bytes.fromhex(candidate), [], [])
        return opened, self._sign(result)


def _told(records: bytes) -> dict[int, tuple[str, str]]:
    """Hashes of result and candidate by round, as the records of a run have them.

    Raises:
        InputError: they are no JSON, or not of this form, or name a round twice.
    """
    form = "JSON [rows, openings]; each row with round, each round's with its two hashes"
    try:
        content = parse_json(records.decode("utf-8"))
    except ValueError as error:
        raise InputError(f"records must be {form}; got {records[:40]!r}") from error
    good = isinstance(content, list) and len(content) == 2 and isinstance(content[0], list)
    require(good, "records", form, Short(content))
    told: dict[int, tuple[str, str]] = {}
    for row in content[0]:
        good = isinstance(row, dict) and type(row.get("round")) is int
        require(good, "a row of the records", form, Short(row))
        number, hashes = row["round"], (row.get("result_sha256"), row.get("candidate_sha256"))
        if number > 0:
            good = all(HASH.holds(value) for value in hashes)
            require(good, f"hashes of round {number}", HASH.words, Short(hashes))
            require(number not in told, "rounds of the records", "distinct", Short(number))
            told[number] = hashes
    return told
