# pragma version ~=0.4.3
# pragma evm-version cancun
"""
@title Ledger of a federated-learning consortium
@license MIT
@notice One round: `open_round` fixes the model; hospitals' signed commitments come in through
        `commit_batch` until it closes them; the nodes sign the aggregate and their verdict on each
        hospital (`record_aggregate`); validators sign what they measured (`attest_batch`);
        `finalize` takes medians, keeps or rolls back the model, and computes every reputation.
@dev The caller is only a carrier: whatever counts is signed by the member it concerns. State of the
     current round is overwritten by the next one; the past is in the events and blocks.
"""

import signatures
import reputation
import membership
import rounds
import shares
import validation

initializes: signatures
initializes: membership[signatures := signatures]
initializes: rounds
initializes: validation[signatures := signatures, membership := membership, rounds := rounds]
initializes: shares[signatures := signatures, membership := membership, rounds := rounds]

exports: (
    signatures.domain_separator,
    membership.seat,
    membership.role_of,
    membership.count,
    membership.certificate,
    membership.threshold,
    membership.nonce,
    membership.suspended,
    rounds.round,
    rounds.phase,
    rounds.model,
    rounds.timing,
    rounds.since,
    validation.attest_batch,
    validation.limits,
    validation.baseline,
    validation.candidate,
    validation.attestations,
    shares.commit_batch,
    shares.post_commitments,
    shares.reveal_commitment,
    shares.claim_commitment,
    shares.attest_shares,
    shares.dispute_share,
    shares.dispute_denial,
    shares.commitments,
    shares.committed,
    shares.posted_root,
    shares.heard,
    shares.fault_count,
)

WORDS: constant(uint256) = membership.MAX_HOSPITALS // 256

# Reasons in ReputationChanged.
ACCEPTED: constant(uint256) = 1
REJECTED: constant(uint256) = 2
ABNORMAL: constant(uint256) = 3
REINSTATED: constant(uint256) = 4

RESULT_TYPEHASH: constant(bytes32) = keccak256(
    "Result(uint256 round,bytes32 result,bytes32 candidate,uint256[4] accepted,uint256[4] rejected)"
)
REINSTATE_TYPEHASH: constant(bytes32) = keccak256("Reinstate(uint256 hospital,uint256 nonce)")
PARAMETERS_TYPEHASH: constant(bytes32) = keccak256(
    "SetParameters(uint256[8] rule,uint256[4] limits,uint256[3] timing,uint256 nonce)"
)

event ParametersChanged:
    rule: reputation.Rule
    limits: validation.Limits
    timing: rounds.Timing

event InitialProposed:
    model: bytes32

event RoundOpened:
    round: indexed(uint256)
    model: bytes32

event AggregateRecorded:
    round: indexed(uint256)
    result: bytes32
    candidate: bytes32
    accepted: uint256[WORDS]
    rejected: uint256[WORDS]

event RoundFinalized:
    round: indexed(uint256)
    abnormal: bool
    model: bytes32
    accuracy: uint256
    loss: uint256
    f1: uint256

event ReputationChanged:
    round: indexed(uint256)
    hospital: indexed(uint256)
    before: uint256
    after: uint256
    reason: uint256

event Suspended:
    round: indexed(uint256)
    hospital: indexed(uint256)

event Reinstated:
    hospital: indexed(uint256)

rule: public(reputation.Rule)
accepted: uint256[WORDS]
rejected: uint256[WORDS]


@deploy
def __init__(
    administrators: DynArray[address, membership.MAX_SEATS],
    threshold: uint256,
    coordinator: address,
    rule: reputation.Rule,
    limits: validation.Limits,
    timing: rounds.Timing,
):
    """
    @param administrators Keys of the administrators.
    @param threshold How many of them approve a change.
    @param coordinator Key that opens rounds and carries messages.
    @param rule The reputation rule.
    @param limits What counts as degradation, and the quorum of validators.
    @param timing Blocks that a round leaves hospitals, nodes and validators to act in.
    """
    signatures.__init__("ConsortiumLedger", "1")
    membership.__init__(administrators, threshold, coordinator)
    self._set_parameters(rule, limits, timing)


@external
def register(
    role: uint256,
    accounts: DynArray[address, membership.MAX_REGISTER],
    certificates: DynArray[bytes32, membership.MAX_REGISTER],
    approvals: DynArray[signatures.Signature, membership.MAX_SEATS],
):
    """
    @notice Admits hospitals (role 2), nodes (3) or validators (4), in the order given.
    """
    membership._register(role, accounts, certificates, self.rule.initial, approvals)


@external
def replace_key(
    role: uint256,
    index: uint256,
    account: address,
    certificate: bytes32,
    approvals: DynArray[signatures.Signature, membership.MAX_SEATS],
):
    """
    @notice Puts a new key at a member's seat; a hospital keeps its reputation and its standing.
    @dev Between rounds, so that all of a round is judged by one set of keys; the coordinator's at
         any time, because a round without a coordinator would never end.
    """
    if role != membership.COORDINATOR:
        rounds._check_idle()
    membership._replace_key(role, index, account, certificate, approvals)


@external
def set_parameters(
    rule: reputation.Rule,
    limits: validation.Limits,
    timing: rounds.Timing,
    approvals: DynArray[signatures.Signature, membership.MAX_SEATS],
):
    """
    @notice Changes the rule between rounds, so that a round is judged by one rule.
    """
    rounds._check_idle()
    membership._approve(
        keccak256(
            abi_encode(
                PARAMETERS_TYPEHASH,
                keccak256(abi_encode(rule)),
                keccak256(abi_encode(limits)),
                keccak256(abi_encode(timing)),
                membership.nonce,
            )
        ),
        approvals,
    )
    self._set_parameters(rule, limits, timing)


@external
def reinstate(
    hospital: uint256, approvals: DynArray[signatures.Signature, membership.MAX_SEATS]
):
    """
    @notice Lifts a suspension: the hospital returns on probation.
    """
    membership._approve(
        keccak256(abi_encode(REINSTATE_TYPEHASH, hospital, membership.nonce)), approvals
    )
    membership._check_hospital(hospital)
    word: uint256 = membership.hospitals[hospital]
    assert reputation._is_suspended(word), "ledger: hospital is not suspended"
    membership.hospitals[hospital] = reputation._fresh(
        reputation._key(word), self.rule.reinstated, self.rule.probation_rounds
    )
    membership.suspended[hospital >> 8] &= ~(1 << (hospital & 255))
    log Reinstated(hospital=hospital)
    log ReputationChanged(
        round=rounds.round,
        hospital=hospital,
        before=reputation._reputation(word),
        after=self.rule.reinstated,
        reason=REINSTATED,
    )


@external
def propose_initial(model: bytes32):
    """
    @notice Puts the initial model to the validators as round 0: attested and finalized like any
            other, it becomes the baseline that the first round is measured against. Optional:
            without it the first round has no baseline and cannot be abnormal. Once only.
    @dev A second round 0 would count what validators attested in the first: hence the candidate.
    """
    membership._check_coordinator()
    rounds._check_idle()
    assert rounds.round == 0 and validation.candidate == empty(bytes32), "ledger: rounds have begun"
    assert model != empty(bytes32), "ledger: model hash of zero"
    validation._propose(model)
    self._begin(rounds.AGGREGATED)
    log InitialProposed(model=model)


@external
def open_round(round: uint256, model: bytes32):
    """
    @notice Opens the next round on the last accepted model (any model in the first round).
    """
    membership._check_coordinator()
    rounds._check_idle()
    assert round == rounds.round + 1, "ledger: not the next round"
    assert model != empty(bytes32), "ledger: model hash of zero"
    if rounds.model == empty(bytes32):
        rounds.model = model
    assert model == rounds.model, "ledger: not the last accepted model"
    rounds.round = round
    self._begin(rounds.OPEN)
    shares._begin()
    log RoundOpened(round=round, model=model)


@external
def record_aggregate(
    round: uint256,
    result: bytes32,
    candidate: bytes32,
    accepted: uint256[WORDS],
    rejected: uint256[WORDS],
    node_signatures: DynArray[signatures.Signature, membership.MAX_SEATS],
):
    """
    @notice Records what all nodes signed: the aggregate's hash, the hash of the model made from it,
            and the verdict on each hospital as two bit sets; in neither set means absent. Every
            hospital whose shares opened at every node gets a verdict. Where a node denied shares,
            there must have been time to bring evidence against it.
    """
    membership._check_coordinator()
    rounds._check_round(round)
    assert rounds.phase == rounds.CLOSED, "ledger: not awaiting an aggregate"
    assert candidate != empty(bytes32), "ledger: model hash of zero"
    nodes: uint256 = rounds._seated(membership.NODE)
    assert nodes > 0 and len(node_signatures) == nodes, "ledger: every node must sign"
    opened: uint256[WORDS] = shares._opened_everywhere()
    struct_hash: bytes32 = keccak256(
        abi_encode(
            RESULT_TYPEHASH,
            round,
            result,
            candidate,
            keccak256(abi_encode(accepted)),
            keccak256(abi_encode(rejected)),
        )
    )
    for i: uint256 in range(nodes, bound=membership.MAX_SEATS):
        assert signatures._signer(struct_hash, node_signatures[i]) == membership.seats[
            membership.NODE
        ][i], "ledger: not signed by the node"
    for i: uint256 in range(WORDS):
        faulty: uint256 = shares.faulty[i]
        verdict: uint256 = accepted[i] | rejected[i]
        assert accepted[i] & rejected[i] == 0, "ledger: accepted and rejected"
        assert verdict & ~shares.committed[i] == 0, "ledger: verdict on absent"
        assert accepted[i] & faulty == 0, "ledger: accepted though at fault"
        assert verdict & ~opened[i] & ~faulty == 0, "ledger: verdict on unopened share"
        assert opened[i] & ~verdict & ~faulty == 0, "ledger: no verdict on opened share"
        if opened[i] != shares.committed[i]:
            assert rounds._has_passed(
                rounds.timing.dispute_blocks
            ), "ledger: evidence may still come"
        self.accepted[i] = accepted[i]
        self.rejected[i] = rejected[i] | faulty
    validation._propose(candidate)
    rounds.phase = rounds.AGGREGATED
    log AggregateRecorded(
        round=round, result=result, candidate=candidate, accepted=accepted, rejected=rejected
    )


@external
def finalize(round: uint256):
    """
    @notice Ends the round when all validators attested, or some time after the quorum. Medians
            within the limits: the candidate becomes the model to start from. Beyond a limit: the
            round is abnormal and the last good model stays.
    @dev Anyone may call it: the outcome follows from what is recorded.
    """
    rounds._check_round(round)
    assert rounds.phase == rounds.AGGREGATED, "ledger: nothing to finalize"
    attested: uint256 = validation.attestations
    assert attested >= validation.limits.quorum, "ledger: below the quorum"
    if attested < rounds._seated(membership.VALIDATOR):
        assert rounds._has_passed(
            rounds.timing.quorum_blocks
        ), "ledger: attestations may still come"
    accuracy: uint256 = 0
    loss: uint256 = 0
    f1: uint256 = 0
    accuracy, loss, f1 = validation._medians(round)
    abnormal: bool = validation._degraded(accuracy, loss, f1)
    if not abnormal:
        rounds.model = validation.candidate
        validation.baseline = validation._pack(accuracy, loss, f1, round)
    self._judge(round, abnormal)
    rounds.phase = rounds.IDLE
    log RoundFinalized(
        round=round, abnormal=abnormal, model=rounds.model, accuracy=accuracy, loss=loss, f1=f1
    )


@external
def abandon_round(round: uint256):
    """
    @notice Ends a round that cannot complete (a node is gone, no quorum). Nobody's standing changes,
            and the number is used up, so nothing signed for it counts again. From the quorum on
            the outcome stands, and anybody can finalize. After an initial model that found no
            quorum (round 0) the first round opens without a baseline.
    """
    membership._check_coordinator()
    rounds._check_round(round)
    assert rounds.phase != rounds.IDLE, "ledger: nothing to abandon"
    if rounds.phase == rounds.AGGREGATED:
        assert validation.attestations < validation.limits.quorum, "ledger: the outcome stands"
    rounds.phase = rounds.IDLE
    log shares.RoundAbandoned(round=round)


@external
@view
def hospital_words(
    start: uint256, size: uint256
) -> DynArray[uint256, membership.MAX_HOSPITALS]:
    """
    @notice Records of hospitals `start` to `start + size - 1`, laid out as in reputation.vy.
    """
    membership._check_hospital(start + size - 1)
    words: DynArray[uint256, membership.MAX_HOSPITALS] = []
    for i: uint256 in range(size, bound=membership.MAX_HOSPITALS):
        words.append(membership.hospitals[start + i])
    return words


@internal
def _begin(phase: uint256):
    """
    @dev Enters the first phase of a round with the members seated now.
    """
    rounds._begin(
        phase,
        membership.count[membership.HOSPITAL],
        membership.count[membership.NODE],
        membership.count[membership.VALIDATOR],
    )


@internal
def _set_parameters(rule: reputation.Rule, limits: validation.Limits, timing: rounds.Timing):
    """
    @dev Checks and writes the parameters.
    """
    reputation._check(rule)
    validation._set_limits(limits)
    rounds._set_timing(timing)
    self.rule = rule
    log ParametersChanged(rule=rule, limits=limits, timing=timing)


@internal
def _judge(round: uint256, abnormal: bool):
    """
    @dev Moves the reputation of every hospital that the nodes gave a verdict on.
    """
    rule: reputation.Rule = self.rule
    for w: uint256 in range(WORDS):
        accepted: uint256 = self.accepted[w]
        judged: uint256 = accepted | self.rejected[w]
        for b: uint256 in range(256):
            rest: uint256 = judged >> b
            if rest == 0:
                break
            if rest & 1 == 0:
                continue
            i: uint256 = (w << 8) | b
            word: uint256 = membership.hospitals[i]
            after: uint256 = 0
            reason: uint256 = ACCEPTED
            if (accepted >> b) & 1 == 0:
                after = reputation._after_rejection(word, rule)
                reason = REJECTED
            elif abnormal:
                after = reputation._after_abnormal(word, rule)
                reason = ABNORMAL
            else:
                after = reputation._after_acceptance(word, rule.growth)
            if after == word:
                continue
            membership.hospitals[i] = after
            log ReputationChanged(
                round=round,
                hospital=i,
                before=reputation._reputation(word),
                after=reputation._reputation(after),
                reason=reason,
            )
            if reputation._is_suspended(after):
                membership.suspended[w] |= 1 << b
                log Suspended(round=round, hospital=i)
