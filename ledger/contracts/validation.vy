# pragma version ~=0.4.3
"""
@title Validation: what validators measured on a candidate model, and whether it is worse
@license MIT
@notice Each validator signs accuracy, loss and F1 with the model's hash; the median of each counts.
"""

import signatures
import membership
import rounds

uses: signatures
uses: membership
uses: rounds

SCALE: constant(uint256) = 10**18
MAX_LOSS: constant(uint256) = 2**96 - 1

ATTESTATION_TYPEHASH: constant(bytes32) = keccak256(
    "Attestation(uint256 round,bytes32 model,uint256 accuracy,uint256 loss,uint256 f1)"
)

struct Limits:
    accuracy_drop: uint256
    loss_rise: uint256
    f1_drop: uint256
    quorum: uint256

struct Attestation:
    validator: uint256
    accuracy: uint256
    loss: uint256
    f1: uint256
    r: bytes32
    vs: uint256

event Attested:
    round: indexed(uint256)
    validator: indexed(uint256)
    accuracy: uint256
    loss: uint256
    f1: uint256

limits: public(Limits)
# Medians of the last accepted model, laid out as in `_pack`; zero before the first.
baseline: public(uint256)

candidate: public(bytes32)
attestations: public(uint256)
# Per validator its latest attestation, tagged with the round.
measured: uint256[membership.MAX_SEATS]


@external
def attest_batch(round: uint256, attestations: DynArray[Attestation, membership.MAX_SEATS]):
    """
    @notice Records what validators measured on the candidate model, in units of 10**-18. Anybody
            may carry it; what a validator attested before stands, and is passed over.
    @dev With the quorum a time begins in which the others may still attest, see `finalize`.
    """
    rounds._check_round(round)
    assert rounds.phase == rounds.AGGREGATED, "ledger: not awaiting attestations"
    candidate: bytes32 = self.candidate
    before: uint256 = self.attestations
    attested: uint256 = before
    for a: Attestation in attestations:
        assert a.validator < rounds._seated(membership.VALIDATOR), "ledger: no such validator"
        if self.measured[a.validator] >> 224 == round + 1:
            continue
        assert max(a.accuracy, a.f1) <= SCALE, "ledger: metric above 1"
        assert a.loss <= MAX_LOSS, "ledger: loss too large"
        signer: address = signatures._signer(
            keccak256(
                abi_encode(ATTESTATION_TYPEHASH, round, candidate, a.accuracy, a.loss, a.f1)
            ),
            signatures.Signature(r=a.r, vs=a.vs),
        )
        assert signer == membership.seats[membership.VALIDATOR][
            a.validator
        ], "ledger: not signed by the validator"
        self.measured[a.validator] = self._pack(a.accuracy, a.loss, a.f1, round)
        log Attested(
            round=round, validator=a.validator, accuracy=a.accuracy, loss=a.loss, f1=a.f1
        )
        attested += 1
    self.attestations = attested
    if before < self.limits.quorum and attested >= self.limits.quorum:
        rounds.since = block.number


@internal
def _propose(candidate: bytes32):
    """
    @dev Puts a model to the validators.
    """
    self.candidate = candidate
    self.attestations = 0


@internal
def _set_limits(limits: Limits):
    """
    @dev Checks and writes the limits.
    """
    assert max(limits.accuracy_drop, limits.f1_drop) <= SCALE, "ledger: limit above 1"
    assert limits.loss_rise <= MAX_LOSS, "ledger: loss limit too large"
    assert limits.quorum > 0 and limits.quorum <= membership.MAX_SEATS, "ledger: quorum not in 1 to 32"
    self.limits = limits


@internal
@pure
def _pack(accuracy: uint256, loss: uint256, f1: uint256, round: uint256) -> uint256:
    """
    @dev Bits 0-63 accuracy, 64-127 F1, 128-223 loss, 224-255 round + 1, so that zero is nothing.
         Rounds count one by one and do not reach 2**32.
    """
    return accuracy | (f1 << 64) | (loss << 128) | ((round + 1) << 224)


@internal
@view
def _medians(round: uint256) -> (uint256, uint256, uint256):
    """
    @dev Median accuracy, loss and F1 over the validators that attested in this round.
    """
    accuracies: DynArray[uint256, membership.MAX_SEATS] = []
    losses: DynArray[uint256, membership.MAX_SEATS] = []
    scores: DynArray[uint256, membership.MAX_SEATS] = []
    for i: uint256 in range(rounds._seated(membership.VALIDATOR), bound=membership.MAX_SEATS):
        word: uint256 = self.measured[i]
        if word >> 224 == round + 1:
            accuracies.append(word & (2**64 - 1))
            scores.append((word >> 64) & (2**64 - 1))
            losses.append((word >> 128) & (2**96 - 1))
    return self._median(accuracies), self._median(losses), self._median(scores)


@internal
@pure
def _median(values: DynArray[uint256, membership.MAX_SEATS]) -> uint256:
    """
    @dev Middle value; of an even number the mean of the two middle ones, rounded down.
    """
    ordered: DynArray[uint256, membership.MAX_SEATS] = []
    for value: uint256 in values:
        ordered.append(value)
        at: uint256 = len(ordered) - 1
        for _: uint256 in range(membership.MAX_SEATS):
            if at == 0 or ordered[at - 1] <= value:
                break
            ordered[at] = ordered[at - 1]
            at -= 1
        ordered[at] = value
    upper: uint256 = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[upper]
    return (ordered[upper - 1] + ordered[upper]) // 2


@internal
@view
def _degraded(accuracy: uint256, loss: uint256, f1: uint256) -> bool:
    """
    @dev Whether the medians fall behind the last good model's by more than the limits.
    """
    limits: Limits = self.limits
    word: uint256 = self.baseline
    if word == 0:
        return False
    return (
        accuracy + limits.accuracy_drop < word & (2**64 - 1)
        or f1 + limits.f1_drop < (word >> 64) & (2**64 - 1)
        or loss > ((word >> 128) & (2**96 - 1)) + limits.loss_rise
    )
