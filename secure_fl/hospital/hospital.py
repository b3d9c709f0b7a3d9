"""One hospital: all that it does in a federation.

It could stand on another machine: it needs its rows, its own secrets and key, the contract and a
way to each node. It trains, or is handed an update; bounds it and adds noise; encodes, splits and
commits, and signs that; delivers one signed share to each node; keeps the receipts, and answers a
node that denies a share for which it gave one. Nothing else signs with its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ledger.members.keys import Signature, Signer
from ledger.protocol.commitments import SignedCommitment
from ledger.protocol.disputes import DeniedShare, SignedOpened
from ledger.protocol.merkle import share_digest
from ledger.protocol.roles import HospitalKey
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.data.dataset import Split
from secure_fl.errors import InputError, require
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.hospital.sharing import commit, split_integers
from secure_fl.hospital.training import clip_and_noise, train
from secure_fl.models import Model
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.shares import SALT_BYTES, Delivery, ShareMessage


class Address(Protocol):
    """A way to one node."""

    def deliver(self, hospital: int, delivery: Delivery) -> None:
        """Bring the node a hospital's share; what it says to it, it says later."""


class Handed(NamedTuple):
    """What a hospital made of its update in a round.

    Attributes:
        number: the round.
        shares: one for each node.
        salts: alike, `SALT_BYTES` each.
        root: what it commits to.
        messages: for each node.
    """

    number: int
    shares: list[np.ndarray]
    salts: list[bytes]
    root: bytes
    messages: list[ShareMessage]


class Hospital:
    """One hospital of a federation.

    Args:
        number: its seat, from 0.
        sharing: where its masks and salts come from; default: the operating system.
        noise: where its privacy noise comes from; default: the operating system.
        signer: its ledger key; None where nothing is signed.
        contract: that it signs for, with that key.
        rows: that it trains on; none where it is only handed updates.

    Raises:
        InputError: a key without a contract, or a contract without a key.

    Attributes:
        number: its seat.
        contract: that it signs for, or None.
        receipts: of this round, by node.
        cpu_ms: CPU milliseconds spent on signing so far.
    """

    def __init__(
        self,
        number: int,
        sharing: HospitalSecrets | None = None,
        noise: HospitalSecrets | None = None,
        signer: Signer | None = None,
        contract: Contract | None = None,
        rows: Split | None = None,
    ) -> None:
        given = (signer is not None, contract is not None)
        require(given[0] == given[1], "signer and contract", "both given, or neither", given)
        self.number = number
        self.contract = contract
        self.receipts: dict[int, Signature] = {}
        self.cpu_ms = 0.0
        self._sharing = sharing or HospitalSecrets()
        self._noise = noise or HospitalSecrets()
        self._key: HospitalKey | None = None
        if signer is not None and contract is not None:
            self._key = HospitalKey(number, signer, contract.messages)
        self._rows = rows
        # Of the last round that it took part in: its number, and digests of its shares by node.
        self._round = 0
        self._sent: dict[int, bytes] = {}
        # The root that it committed to in each round, where it signs.
        self._promised: dict[int, bytes] = {}

    def train(
        self, model: Model, start: torch.Tensor, options: TrainOptions, seed: int
    ) -> torch.Tensor:
        """Train on its own rows; float32 (d,), see `secure_fl.hospital.training.train`.

        Raises:
            InputError: it has no rows.
        """
        if self._rows is None:
            raise InputError(f"hospital {self.number} was given no rows to train on")
        return train(model, start, [self._rows], options, [seed])[0]

    def noise_key(self, number: int) -> bytes:
        """The key of its noise in a round, used once."""
        return self._noise.draw(f"noise {number} {self.number}", KEY_BYTES)

    def hand_in(self, number: int, row: torch.Tensor, bits: int, nodes: Sequence[Address]) -> bytes:
        """Commit to an update, and deliver a share of it to every node.

        Args:
            number: the round.
            row: float64 (d,), finite and in range (`secure_fl.hospital.sharing.refusal`).
            bits: width of an encoded coordinate.
            nodes: ways to them, in order of rank.

        Returns:
            The commitment: a Merkle root of 32 bytes over one salted digest a node.

        Raises:
            InputError: it signed another root for this round; two would be evidence against it.
        """
        handed = self._commit(number, row, bits, len(nodes))
        self._round, self._sent, self.receipts = number, {}, {}
        self._promise(handed)
        for rank, node in enumerate(nodes):
            delivery = self._delivery(handed, rank)
            if delivery is not None:
                node.deliver(self.number, delivery)
        return handed.root

    def commit(self, number: int, row: torch.Tensor) -> bytes:
        """Commit to an update that is combined in the clear: to one share, which is all of it."""
        handed = self._commit(number, row, 64, 1)
        self._promise(handed)
        return handed.root

    def sign_commitment(self, number: int, model: bytes) -> SignedCommitment:
        """Its signature for the chain on the root that it committed to.

        Args:
            number: the round.
            model: hash of the model that it started from, 32 bytes.

        Raises:
            InputError: it committed to nothing in this round, or has no key.
        """
        root = self._promised.get(number)
        if root is None or self._key is None:
            raise InputError(f"hospital {self.number} has no commitment for round {number} to sign")
        start = process_time()
        signed = self._key.commitment(number, model, root)
        self.cpu_ms += 1000 * (process_time() - start)
        return signed

    def keep(self, node: int, receipt: Signature) -> None:
        """Keep a node's receipt for this round's share."""
        self.receipts[node] = receipt

    def answer(self, number: int, said: SignedOpened) -> DeniedShare | None:
        """Evidence against a node that says its share did not open, though it gave a receipt.

        Args:
            number: the round.
            said: the node's statement.
        """
        if number != self._round or self.number in said.hospitals:
            return None
        digest, receipt = self._sent.get(said.node), self.receipts.get(said.node)
        if digest is None or receipt is None:
            return None
        return DeniedShare(self.number, said.node, digest, receipt)

    def encode(self, number: int, row: torch.Tensor, bits: int) -> torch.Tensor:
        """The integers, int64 (d,), that it shares for an update in a round."""
        return encode(row)

    def _split(self, number: int, row: torch.Tensor, bits: int, nodes: int) -> list[np.ndarray]:
        stream = Stream(self._sharing.draw(f"share {number} {self.number}", KEY_BYTES))
        return split_integers(self.encode(number, row, bits), bits, nodes, stream)

    def _commit(self, number: int, row: torch.Tensor, bits: int, nodes: int) -> Handed:
        shares = self._split(number, row, bits, nodes)
        salts = [
            self._sharing.draw(f"salt {number} {self.number} {rank}", SALT_BYTES)
            for rank in range(nodes)
        ]
        return Handed(number, shares, salts, *commit(shares, salts))

    def _promise(self, handed: Handed) -> None:
        """Stand by one root in each round of its contract."""
        if self._key is None:
            return
        if self._promised.setdefault(handed.number, handed.root) != handed.root:
            raise InputError(
                f"hospital {self.number} has signed another root for round {handed.number}"
            )

    def _delivery(self, handed: Handed, rank: int) -> Delivery | None:
        """What goes to a node; None: nothing."""
        return self._signed(handed.number, rank, handed.messages[rank], handed.root)

    def _signed(self, number: int, rank: int, message: ShareMessage, root: bytes) -> Delivery:
        """A share with the hospital's signature that it opens a root, where there is a contract."""
        if self._key is None:
            return Delivery(message)
        start = process_time()
        digest = share_digest(message.salt, message.share)
        signature = self._key.delivery(number, rank, digest, root).as_bytes()
        self._sent[rank] = digest
        self.cpu_ms += 1000 * (process_time() - start)
        return Delivery(message, root, signature)


def protect(
    hospitals: Sequence[Hospital],
    number: int,
    updates: torch.Tensor,
    clip_norm: float | None,
    noise_sigma: float,
) -> torch.Tensor:
    """What each hospital does to its own update before it hands it in, all in one batch.

    Args:
        hospitals: n of them.
        number: the round.
        updates: float (n, d).
        clip_norm, noise_sigma: see `secure_fl.hospital.training.clip_and_noise`.
    """
    keys = [hospital.noise_key(number) for hospital in hospitals] if noise_sigma > 0 else None
    return clip_and_noise(updates, clip_norm, noise_sigma, keys)
