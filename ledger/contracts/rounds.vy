# pragma version ~=0.4.3
"""
@title Where the current round stands
@license MIT
@notice Number, phase and starting model of the round, shared by the modules that move it; how many
        seats of each role count in it; and how long each step leaves others time to act, in blocks.
@dev Nothing of a block is read but its number.
"""

struct Timing:
    open_blocks: uint256
    dispute_blocks: uint256
    quorum_blocks: uint256

# Phases of a round.
IDLE: constant(uint256) = 0
OPEN: constant(uint256) = 1
CLOSED: constant(uint256) = 2
AGGREGATED: constant(uint256) = 3

MAX_BLOCKS: constant(uint256) = 2**32 - 1

round: public(uint256)
phase: public(uint256)
# The model that hospitals start from: the last one accepted.
model: public(bytes32)
# Blocks that must lie between two steps, see `_require_passed`.
timing: public(Timing)
# The block from which the next step counts: of the opening, the closing, the last attestation of
# shares, the quorum.
since: public(uint256)
# Seats of each role when the round began, 32 bits for each role.
seats: uint256


@internal
def _begin(phase: uint256, hospitals: uint256, nodes: uint256, validators: uint256):
    """
    @dev Enters the first phase; who is seated from now on takes part from the next round on.
    """
    self.phase = phase
    self.since = block.number
    self.seats = (hospitals << 64) | (nodes << 96) | (validators << 128)


@internal
@view
def _seated(role: uint256) -> uint256:
    """
    @dev How many hospitals (role 2), nodes (3) or validators (4) count in this round.
    """
    return (self.seats >> (32 * role)) & MAX_BLOCKS


@internal
@view
def _has_passed(blocks: uint256) -> bool:
    """
    @dev Whether at least `blocks` blocks lie between the last step and this block.
    """
    return block.number > self.since + blocks


@internal
def _set_timing(timing: Timing):
    """
    @dev Checks and writes the waiting times.
    """
    assert (
        max(max(timing.open_blocks, timing.dispute_blocks), timing.quorum_blocks) <= MAX_BLOCKS
    ), "ledger: too many blocks"
    self.timing = timing


@internal
@view
def _check_idle():
    """
    @dev Reverts while a round is under way.
    """
    assert self.phase == IDLE, "ledger: a round is under way"


@internal
@view
def _check_round(round: uint256):
    """
    @dev Reverts unless `round` is the current one.
    """
    assert round == self.round, "ledger: foreign round"


@internal
@view
def _check_dispute(round: uint256):
    """
    @dev Reverts unless commitments of the current round are closed and no aggregate is recorded.
    """
    assert round == self.round and self.phase == CLOSED, "ledger: no dispute now"
