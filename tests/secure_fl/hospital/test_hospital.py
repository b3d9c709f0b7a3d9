"""One hospital by itself: no server, no process; what it sends is read as nodes would read it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import secure_fl
from ledger.members.keys import Signature, recover, simulation_key
from ledger.protocol.disputes import SignedOpened
from ledger.protocol.merkle import share_digest
from secure_fl import models
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.data import Split
from secure_fl.errors import InputError
from secure_fl.hospital.hospital import Hospital, protect
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.hospital.training import clip_and_noise, train
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.shares import Delivery, check

BITS, D, NUMBER, SEAT = 18, 5, 3, 1
KEY, OTHER = (simulation_key(4, "hospital", seat) for seat in (SEAT, 0))
CONTRACT = Contract(7, bytes(range(20)), (OTHER.address, KEY.address))
ROW = torch.tensor([0.5, -1.25, 0.0, 1.999, -2.0 + 2**-16], dtype=torch.float64)
NODE = simulation_key(4, "node", 0)


class Taking:
    """A node's address that keeps what comes."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Delivery]] = []

    def deliver(self, hospital: int, delivery: Delivery) -> None:
        self.came.append((hospital, delivery))


def signing(**given: object) -> Hospital:
    return Hospital(SEAT, signer=KEY, contract=CONTRACT, **given)


@pytest.mark.parametrize("nodes", [2, 3])
def test_what_it_delivers_opens_its_commitment_and_adds_up_to_its_update(nodes: int) -> None:
    addresses = [Taking() for _ in range(nodes)]
    root = signing().hand_in(NUMBER, ROW, BITS, addresses)
    total = torch.zeros(D, dtype=torch.int64)
    for rank, address in enumerate(addresses):
        ((seat, delivery),) = address.came
        assert (seat, delivery.root) == (SEAT, root)
        total += torch.from_numpy(check(delivery.message, root, rank, nodes, BITS, D))
        digest = share_digest(delivery.message.salt, delivery.message.share)
        said = CONTRACT.messages.delivery(NUMBER, rank, digest, root)
        assert recover(said, Signature.from_bytes(delivery.signature)) == KEY.address
        elsewhere = CONTRACT._replace(address=bytes(20)).messages
        other = elsewhere.delivery(NUMBER, rank, digest, root)
        assert recover(other, Signature.from_bytes(delivery.signature)) != KEY.address
    assert torch.equal((total - encode(ROW)) % 2**BITS, torch.zeros(D, dtype=torch.int64))


def test_without_a_contract_it_signs_nothing() -> None:
    address = Taking()
    Hospital(0).hand_in(1, ROW, BITS, [address, Taking()])
    ((_, delivery),) = address.came
    assert (delivery.root, delivery.signature) == (b"", b"")


@pytest.mark.parametrize("given", [{"signer": KEY}, {"contract": CONTRACT}])
def test_a_key_and_a_contract_come_together(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match="signer and contract must be both given, or neither"):
        Hospital(0, **given)


def test_it_signs_one_root_a_round() -> None:
    hospital, address = signing(), Taking()
    hospital.hand_in(NUMBER, ROW, BITS, [address] * 2)
    with pytest.raises(InputError, match="hospital 1 has signed another root for round 3"):
        hospital.hand_in(NUMBER, ROW, BITS, [address] * 2)
    assert len(address.came) == 2
    hospital.hand_in(NUMBER + 1, ROW, BITS, [address] * 2)
    repeated = signing(sharing=HospitalSecrets(b"k" * 32))
    assert repeated.hand_in(1, ROW, BITS, [address] * 2) == (
        repeated.hand_in(1, ROW, BITS, [address] * 2)
    )


@pytest.mark.parametrize("shared", [True, False])
def test_it_signs_the_commitment_that_it_made(shared: bool) -> None:
    hospital, model = signing(), bytes(31) + b"m"
    assert hospital.cpu_ms == 0
    with pytest.raises(InputError, match="hospital 1 has no commitment for round 3 to sign"):
        hospital.sign_commitment(NUMBER, model)
    address = Taking()
    if shared:
        root = hospital.hand_in(NUMBER, ROW, BITS, [address] * 2)
    else:
        root = hospital.commit(NUMBER, ROW)
        with pytest.raises(InputError, match="hospital 1 has signed another root for round 3"):
            hospital.commit(NUMBER, -ROW)
    signed = hospital.sign_commitment(NUMBER, model)
    assert (signed.hospital, signed.root) == (SEAT, root)
    said = CONTRACT.messages.commitment(NUMBER, model, root)
    assert recover(said, signed.signature) == KEY.address
    assert hospital.cpu_ms > 0
    unsigned = Hospital(0)
    unsigned.commit(NUMBER, ROW)
    with pytest.raises(InputError, match="hospital 0 has no commitment for round 3 to sign"):
        unsigned.sign_commitment(NUMBER, model)


def test_it_answers_a_node_that_denies_its_own_receipt() -> None:
    hospital, address = signing(), Taking()
    root = hospital.hand_in(NUMBER, ROW, BITS, [address, Taking()])
    denied = SignedOpened(0, (0,), NODE.sign(bytes(32)))
    assert hospital.answer(NUMBER, denied) is None  # there is no receipt
    ((_, delivery),) = address.came
    digest = share_digest(delivery.message.salt, delivery.message.share)
    receipt = NODE.sign(CONTRACT.messages.receipt(NUMBER, SEAT, digest, root))
    hospital.keep(0, receipt)
    evidence = hospital.answer(NUMBER, denied)
    assert evidence is not None
    assert (evidence.hospital, evidence.node) == (SEAT, 0)
    assert (evidence.digest, evidence.receipt) == (digest, receipt)
    assert hospital.answer(NUMBER, replace(denied, hospitals=(0, SEAT))) is None
    assert hospital.answer(NUMBER, replace(denied, node=1)) is None
    assert hospital.answer(NUMBER + 1, denied) is None  # it did not take part
    hospital.hand_in(NUMBER + 1, ROW, BITS, [address, Taking()])
    assert hospital.answer(NUMBER + 1, denied) is None  # a receipt counts for its round


def test_it_trains_alone_as_in_the_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    model = models.build("mlp", (4,), 2, {"hidden": (3,)})
    start, options = model.init(rng), TrainOptions(epochs=2, batch_size=8)
    rows = [Split(torch.rand(m, 4, generator=rng), torch.arange(m) % 2) for m in (30, 17)]
    both = train(model, start, rows, options, [5, 6])
    for seat in range(2):
        own = Hospital(seat, rows=rows[seat]).train(model, start, options, 5 + seat)
        torch.testing.assert_close(own, both[seat], rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="hospital 0 was given no rows to train on"):
        Hospital(0).train(model, start, options, 5)


def test_each_bounds_its_update_and_draws_its_own_noise() -> None:
    updates = torch.ones(3, D)
    hospitals = [Hospital(seat, noise=HospitalSecrets(bytes([seat]) * 32)) for seat in range(3)]
    sent = protect(hospitals, 2, updates, 1.0, 0.5)
    for seat, hospital in enumerate(hospitals):
        alone = clip_and_noise(updates[:1], 1.0, 0.5, [hospital.noise_key(2)])
        assert torch.equal(sent[seat], alone[0])
    assert not torch.equal(sent[0], sent[1])
    assert not torch.equal(sent, protect(hospitals, 3, updates, 1.0, 0.5))
    assert torch.equal(protect(hospitals, 2, updates, None, 0.0), updates)


def test_hospitals_of_a_session_are_in_their_seats() -> None:
    with secure_fl.open_backend("plain") as backend:
        for wrong in ([Hospital(1)], [Hospital(0), Hospital(0)]):
            with pytest.raises(InputError, match="hospitals must be in order of seat; got"):
                backend.session("median", wrong, D)
        with pytest.raises(InputError, match="simulation_key must be left to the hospitals"):
            backend.session("median", [Hospital(0)], D, b"k" * 32)


def test_only_a_member_itself_signs_with_its_key() -> None:
    """Whoever carries what hospitals and nodes say holds nothing to sign with."""
    root = Path(secure_fl.__file__).parent
    uses = {
        str(path.relative_to(root)): set(re.findall(r"\.sign\(|[A-Z]\w+Key\b", path.read_text()))
        for path in root.rglob("*.py")
        if path.parent.name != "mpc"  # TLS
    }
    assert {path: found for path, found in uses.items() if found} == {
        "hospital/hospital.py": {"HospitalKey"},
        "nodes/attestation.py": {".sign("},
        "server/validation.py": {"ValidatorKey"},
        "simulation/attacked_validators.py": {"ValidatorKey"},  # validators that lie, signing it
        "simulation/parties.py": {"ValidatorKey"},  # makes validators
        "simulation/round_ledger.py": {"NodeKey"},  # plays nodes where there are none
    }
