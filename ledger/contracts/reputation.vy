# pragma version ~=0.4.3
"""
@title The reputation rule, in integers
@license MIT
@notice A reputation R lies in [0, 1] and is held as R * 10**18, rounded down at every step.
        Accepted: R + growth * (1 - R). Rejected: R * (rejection_keep - repetition_step * (s - 1))
        for the s-th rejection in a row. Accepted into a round that turned out abnormal:
        R * abnormal_keep. Below `floor` the hospital is suspended, and on probation after a
        reinstatement the first rejection suspends.
@dev A hospital is one storage word, so that commitment and finalization read and write once:
     bits 0-159 key, 160-223 reputation, 224-231 rejections in a row, 232-239 suspended,
     240-255 probation rounds left.
"""

SCALE: constant(uint256) = 10**18
MAX_STREAK: constant(uint256) = 255

struct Rule:
    initial: uint256
    growth: uint256
    rejection_keep: uint256
    repetition_step: uint256
    abnormal_keep: uint256
    floor: uint256
    reinstated: uint256
    probation_rounds: uint256

ADDRESS_MASK: constant(uint256) = 2**160 - 1
REPUTATION_MASK: constant(uint256) = 2**64 - 1
BYTE_MASK: constant(uint256) = 255
SUSPENDED_BIT: constant(uint256) = 1 << 232


@internal
@pure
def _check(rule: Rule):
    """
    @dev Reverts unless the rule keeps every reputation inside [0, 1].
    """
    factor: uint256 = max(rule.growth, max(rule.rejection_keep, rule.repetition_step))
    factor = max(factor, rule.abnormal_keep)
    assert factor <= SCALE, "reputation: factor above 1"
    assert max(rule.initial, rule.reinstated) <= SCALE, "reputation: start above 1"
    assert rule.floor <= min(rule.initial, rule.reinstated), "reputation: floor above start"
    assert rule.probation_rounds < 2**16, "reputation: probation too long"


@internal
@pure
def _fresh(account: address, reputation: uint256, probation: uint256) -> uint256:
    """
    @dev The word of a hospital in good standing.
    """
    return convert(account, uint256) | (reputation << 160) | (probation << 240)


@internal
@pure
def _key(word: uint256) -> address:
    return convert(word & ADDRESS_MASK, address)


@internal
@pure
def _reputation(word: uint256) -> uint256:
    return (word >> 160) & REPUTATION_MASK


@internal
@pure
def _is_suspended(word: uint256) -> bool:
    return word & SUSPENDED_BIT != 0


@internal
@pure
def _with_key(word: uint256, account: address) -> uint256:
    """
    @dev The same record under a new key: standing survives a key rotation.
    """
    return (word & ~ADDRESS_MASK) | convert(account, uint256)


@internal
@pure
def _after_acceptance(word: uint256, growth: uint256) -> uint256:
    """
    @dev The word after a good round into which the hospital's update was accepted. Unchecked
         arithmetic: reputation and growth are at most SCALE, see `_check`.
    """
    r: uint256 = (word >> 160) & REPUTATION_MASK
    r = unsafe_add(r, unsafe_div(unsafe_mul(unsafe_sub(SCALE, r), growth), SCALE))
    probation: uint256 = word >> 240
    if probation != 0:
        probation = unsafe_sub(probation, 1)
    return (word & ADDRESS_MASK) | (r << 160) | (probation << 240)


@internal
@pure
def _after_abnormal(word: uint256, rule: Rule) -> uint256:
    """
    @dev The word after an abnormal round into which the hospital's update was accepted.
    """
    r: uint256 = ((word >> 160) & REPUTATION_MASK) * rule.abnormal_keep // SCALE
    suspended: uint256 = 0
    if r < rule.floor:
        suspended = SUSPENDED_BIT
    return (word & ~(REPUTATION_MASK << 160)) | (r << 160) | suspended


@internal
@pure
def _after_rejection(word: uint256, rule: Rule) -> uint256:
    """
    @dev The word after a round in which the hospital's update was rejected.
    """
    r: uint256 = (word >> 160) & REPUTATION_MASK
    streak: uint256 = (word >> 224) & BYTE_MASK
    probation: uint256 = word >> 240
    lost: uint256 = rule.repetition_step * streak
    keep: uint256 = 0
    if lost < rule.rejection_keep:
        keep = rule.rejection_keep - lost
    r = r * keep // SCALE
    if streak < MAX_STREAK:
        streak += 1
    suspended: uint256 = 0
    if r < rule.floor or probation != 0:
        suspended = SUSPENDED_BIT
    return (word & ADDRESS_MASK) | (r << 160) | (streak << 224) | suspended | (probation << 240)
