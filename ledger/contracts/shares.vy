# pragma version ~=0.4.3
"""
@title Commitments to shares, and who is at fault when something does not fit
@license MIT
@notice Two ways to commit. `commit_batch`: the contract recovers every hospital's signature.
        `post_commitments`: one Merkle root over all signed commitments, whose signatures the
        contract recovers only when somebody calls `reveal_commitment`. Nodes then attest whose
        shares opened (`attest_shares`). Until the aggregate is recorded anybody may dispute.
        A hospital signs with each share that it delivers the root that the share opens, and the
        same root as its commitment: two roots of one round are its fault. A node signs in return
        that the share opened that root: to deny it afterwards is the node's fault.
@dev Sets of hospitals are bit sets, bit i of word w standing for hospital 256 w + i. Disputes take
     signed evidence, so anybody may carry them: a coordinator cannot keep them from the contract.
"""

import signatures
import reputation
import membership
import merkle
import rounds

uses: signatures
uses: membership
uses: rounds

MAX_BATCH: constant(uint256) = 250
WORDS: constant(uint256) = membership.MAX_HOSPITALS // 256
# A signed commitment takes 128 bytes: hospital, root, r, vs.
MAX_POSTED: constant(uint256) = 128 * membership.MAX_HOSPITALS

COMMITMENT_TYPEHASH: constant(bytes32) = keccak256(
    "Commitment(uint256 round,bytes32 model,bytes32 sharesRoot)"
)
DELIVERY_TYPEHASH: constant(bytes32) = keccak256(
    "Delivery(uint256 round,uint256 node,bytes32 digest,bytes32 sharesRoot)"
)
RECEIPT_TYPEHASH: constant(bytes32) = keccak256(
    "Receipt(uint256 round,uint256 hospital,bytes32 digest,bytes32 sharesRoot)"
)
OPENED_TYPEHASH: constant(bytes32) = keccak256(
    "Opened(uint256 round,bytes32 commitments,uint256[4] opened)"
)

struct Commitment:
    hospital: uint256
    root: bytes32
    r: bytes32
    vs: uint256

struct Opened:
    node: uint256
    opened: uint256[WORDS]
    r: bytes32
    vs: uint256

event Committed:
    round: indexed(uint256)
    hospital: indexed(uint256)
    root: bytes32

event CommitmentsPosted:
    round: indexed(uint256)
    root: bytes32

event CommitmentsClosed:
    round: indexed(uint256)
    committed: uint256[WORDS]

event OmissionRepaired:
    round: indexed(uint256)
    hospital: indexed(uint256)

event CommitmentForged:
    round: indexed(uint256)
    hospital: indexed(uint256)

event SharesAttested:
    round: indexed(uint256)
    node: indexed(uint256)
    opened: uint256[WORDS]

event ShareDisputed:
    round: indexed(uint256)
    hospital: indexed(uint256)
    node: indexed(uint256)
    hospital_at_fault: bool

event RoundAbandoned:
    round: indexed(uint256)

# Hospitals that committed; of those, whose root the contract holds; of those, found at fault.
committed: public(uint256[WORDS])
known: uint256[WORDS]
faulty: uint256[WORDS]
roots: bytes32[membership.MAX_HOSPITALS]
# Root over the signed commitments of this round; zero where every one was verified.
posted_root: public(bytes32)
# Nodes that attested their shares in this round, as a bit set, and what each attested.
heard: public(uint256)
opened: uint256[WORDS][membership.MAX_SEATS]
# By role and seat, how often a node or the coordinator was found at fault.
fault_count: public(HashMap[uint256, HashMap[uint256, uint256]])


@external
def commit_batch(round: uint256, commitments: DynArray[Commitment, MAX_BATCH], last: bool):
    """
    @notice Records hospitals' signed commitments; `last` closes the round to further ones.
    @dev All or nothing: one bad signature reverts the batch. A hospital may send its own, which
         stands, and is passed over in the coordinator's batch. Only the coordinator closes.
    """
    if last:
        membership._check_coordinator()
    self._check_open(round)
    for c: Commitment in commitments:
        self._check_seated(c.hospital)
        if not self._has(self.known[c.hospital >> 8], c.hospital):
            self._admit(round, c)
    if last:
        self._close(round, self._is_complete())


@external
def post_commitments(
    round: uint256, root: bytes32, committed: uint256[WORDS], signed: Bytes[MAX_POSTED]
):
    """
    @notice Records all commitments of a round under one Merkle root, and closes the round to them.
            A hospital that committed by itself before stands with what it committed to.
    @param root Tree with the hash of hospital i's signed commitment at position i.
    @param committed Hospitals in the tree.
    @param signed The signed commitments themselves, 128 bytes each: the contract does not read
           them; nodes, auditors and whoever disputes find them on the chain.
    """
    membership._check_coordinator()
    self._check_open(round)
    assert root != empty(bytes32), "ledger: root of zero"
    for i: uint256 in range(WORDS):
        self._add(i, committed[i])
    self.posted_root = root
    log CommitmentsPosted(round=round, root=root)
    self._close(round, False)


@external
def reveal_commitment(
    round: uint256, commitment: Commitment, proof: DynArray[bytes32, merkle.MAX_DEPTH]
):
    """
    @notice Shows the contract one commitment under the posted root. Signed by the hospital: its
            root is held from now on, and shares can be disputed against it. Not signed by it: the
            coordinator put in what nobody gave it, is at fault, and the round is void.
    """
    rounds._check_dispute(round)
    h: uint256 = commitment.hospital
    self._check_seated(h)
    word: uint256 = h >> 8
    bit: uint256 = 1 << (h & 255)
    assert self.committed[word] & ~self.known[word] & bit != 0, "ledger: nothing to reveal"
    leaf: bytes32 = keccak256(abi_encode(commitment))
    size: uint256 = rounds._seated(membership.HOSPITAL)
    assert merkle._root_from(leaf, h, size, proof) == self.posted_root, "ledger: wrong proof"
    if self._is_signed(round, commitment):
        self._learn(round, commitment)
    else:
        self.fault_count[membership.COORDINATOR][0] += 1
        rounds.phase = rounds.IDLE
        log CommitmentForged(round=round, hospital=h)
        log RoundAbandoned(round=round)


@external
def claim_commitment(round: uint256, commitment: Commitment):
    """
    @notice Puts in a commitment that the coordinator left out, or that it may have replaced in the
            tree it posted, before the first node attests its shares.
    @dev Each attestation sets `rounds.since`, from then on for evidence alone.
    """
    rounds._check_dispute(round)
    assert self.heard == 0 and not rounds._has_passed(
        rounds.timing.dispute_blocks
    ), "ledger: late claim"
    self._check_seated(commitment.hospital)
    self._admit(round, commitment)
    log OmissionRepaired(round=round, hospital=commitment.hospital)


@external
def attest_shares(round: uint256, attestations: DynArray[Opened, membership.MAX_SEATS]):
    """
    @notice Records of each node which hospitals' shares opened the roots that they delivered. Not
            before hospitals that were left out had the time to claim. What a node attested before
            stands, and is passed over.
    """
    rounds._check_dispute(round)
    root: bytes32 = self.posted_root
    if self.heard == 0 and (root != empty(bytes32) or not self._is_complete()):
        assert rounds._has_passed(rounds.timing.dispute_blocks), "ledger: claims may still come"
    for a: Opened in attestations:
        assert a.node < rounds._seated(membership.NODE), "ledger: no such node"
        if self._has(self.heard, a.node):
            continue
        assert signatures._signer(
            keccak256(abi_encode(OPENED_TYPEHASH, round, root, keccak256(abi_encode(a.opened)))),
            signatures.Signature(r=a.r, vs=a.vs),
        ) == membership.seats[membership.NODE][a.node], "ledger: not signed by the node"
        self.heard |= 1 << a.node
        rounds.since = block.number
        self.opened[a.node] = a.opened
        log SharesAttested(round=round, node=a.node, opened=a.opened)


@external
def dispute_share(
    round: uint256,
    hospital: uint256,
    node: uint256,
    digest: bytes32,
    root: bytes32,
    delivery: signatures.Signature,
):
    """
    @notice Shows that a hospital delivered a share under another root than it committed to.
    @param digest Digest of the share, and the `root` that it opens, as the hospital signed both
           with its delivery to the node.
    @dev The hospital signed two roots for one round and is at fault. No node's word counts here, so
         none can accuse falsely.
    """
    self._check_known(round, hospital)
    assert not self._has(self.faulty[hospital >> 8], hospital), "ledger: already decided"
    assert root != self.roots[hospital], "ledger: delivered as committed"
    assert signatures._signer(
        keccak256(abi_encode(DELIVERY_TYPEHASH, round, node, digest, root)), delivery
    ) == reputation._key(membership.hospitals[hospital]), "ledger: delivery not signed"
    self.faulty[hospital >> 8] |= 1 << (hospital & 255)
    log ShareDisputed(round=round, hospital=hospital, node=node, hospital_at_fault=True)


@external
def dispute_denial(
    round: uint256,
    hospital: uint256,
    node: uint256,
    digest: bytes32,
    receipt: signatures.Signature,
):
    """
    @notice A hospital shows that a node which denies having opened its share signed a receipt for a
            share that opened the very root committed to: the node is at fault, and the share counts
            as opened.
    """
    self._check_known(round, hospital)
    assert node < membership.MAX_SEATS and self._has(
        self.heard, node
    ), "ledger: node has not attested"
    assert not self._has(self.opened[node][hospital >> 8], hospital), "ledger: node did not deny"
    assert signatures._signer(
        keccak256(
            abi_encode(RECEIPT_TYPEHASH, round, hospital, digest, self.roots[hospital])
        ),
        receipt,
    ) == membership.seats[membership.NODE][node], "ledger: receipt not signed"
    self.opened[node][hospital >> 8] |= 1 << (hospital & 255)
    self.fault_count[membership.NODE][node] += 1
    log ShareDisputed(round=round, hospital=hospital, node=node, hospital_at_fault=False)


@external
@view
def commitments(
    start: uint256, size: uint256
) -> DynArray[bytes32, membership.MAX_HOSPITALS]:
    """
    @notice Roots that the contract holds of hospitals `start` to `start + size - 1` in the current
            round; zero where it holds none.
    """
    membership._check_hospital(start + size - 1)
    roots: DynArray[bytes32, membership.MAX_HOSPITALS] = []
    for i: uint256 in range(start, start + size, bound=membership.MAX_HOSPITALS):
        if self._has(self.known[i >> 8], i):
            roots.append(self.roots[i])
        else:
            roots.append(empty(bytes32))
    return roots


@internal
def _begin():
    """
    @dev Forgets the commitments of the round before.
    """
    self.committed = empty(uint256[WORDS])
    self.known = empty(uint256[WORDS])
    self.faulty = empty(uint256[WORDS])
    self.posted_root = empty(bytes32)
    self.heard = 0


@internal
@view
def _opened_everywhere() -> uint256[WORDS]:
    """
    @dev Hospitals whose shares opened at every node; reverts until every node attested.
    """
    nodes: uint256 = rounds._seated(membership.NODE)
    assert self.heard == (1 << nodes) - 1, "ledger: every node must attest its shares"
    result: uint256[WORDS] = self.committed
    for node: uint256 in range(nodes, bound=membership.MAX_SEATS):
        for i: uint256 in range(WORDS):
            result[i] &= self.opened[node][i]
    return result


@internal
@pure
def _has(word: uint256, member: uint256) -> bool:
    """
    @dev Whether a member is in the set of which `word` is its word.
    """
    return word & (1 << (member & 255)) != 0


@internal
@view
def _check_open(round: uint256):
    """
    @dev Reverts unless commitments of the current round are awaited.
    """
    rounds._check_round(round)
    assert rounds.phase == rounds.OPEN, "ledger: late commitment"


@internal
@view
def _check_seated(hospital: uint256):
    """
    @dev Reverts unless the hospital had its seat when the round began.
    """
    assert hospital < rounds._seated(membership.HOSPITAL), "ledger: no such hospital"


@internal
@view
def _seated(word: uint256) -> uint256:
    """
    @dev A word of the set of hospitals that had their seats when the round began.
    """
    seated: uint256 = rounds._seated(membership.HOSPITAL)
    if seated >= 256 * (word + 1):
        return max_value(uint256)
    return (1 << (max(seated, 256 * word) - 256 * word)) - 1


@internal
@view
def _is_complete() -> bool:
    """
    @dev Whether every hospital that may commit has done so.
    """
    for i: uint256 in range(WORDS):
        if self._seated(i) & ~membership.suspended[i] & ~self.committed[i] != 0:
            return False
    return True


@internal
@view
def _is_signed(round: uint256, c: Commitment) -> bool:
    """
    @dev Whether the hospital named signed the commitment for this round and its model.
    """
    return signatures._signer(
        keccak256(abi_encode(COMMITMENT_TYPEHASH, round, rounds.model, c.root)),
        signatures.Signature(r=c.r, vs=c.vs),
    ) == reputation._key(membership.hospitals[c.hospital])


@internal
def _add(word: uint256, members: uint256):
    """
    @dev Adds a word of members to the set of those who committed, if each of them may.
    """
    assert members & ~self._seated(word) == 0, "ledger: no such hospital"
    assert members & membership.suspended[word] == 0, "ledger: hospital is suspended"
    self.committed[word] |= members


@internal
def _admit(round: uint256, c: Commitment):
    """
    @dev Takes in one commitment of a seated hospital, whose signature the contract checks.
    """
    assert c.root != empty(bytes32), "ledger: commitment of zero"
    assert not self._has(self.known[c.hospital >> 8], c.hospital), "ledger: second commitment"
    self._add(c.hospital >> 8, 1 << (c.hospital & 255))
    assert self._is_signed(round, c), "ledger: not signed by the hospital"
    self._learn(round, c)


@internal
def _close(round: uint256, complete: bool):
    """
    @dev Takes no more commitments; unless all are in, not before hospitals had their time.
    """
    if not complete:
        assert rounds._has_passed(rounds.timing.open_blocks), "ledger: commitments may still come"
    rounds.phase = rounds.CLOSED
    rounds.since = block.number
    log CommitmentsClosed(round=round, committed=self.committed)


@internal
def _learn(round: uint256, c: Commitment):
    """
    @dev Holds a hospital's root from now on.
    """
    self.known[c.hospital >> 8] |= 1 << (c.hospital & 255)
    self.roots[c.hospital] = c.root
    log Committed(round=round, hospital=c.hospital, root=c.root)


@internal
@view
def _check_known(round: uint256, hospital: uint256):
    """
    @dev Reverts unless the round can be disputed and the contract holds the hospital's root.
    """
    rounds._check_dispute(round)
    self._check_seated(hospital)
    assert self._has(self.known[hospital >> 8], hospital), "ledger: commitment is not known"
