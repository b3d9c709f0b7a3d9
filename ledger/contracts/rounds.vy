# pragma version ~=0.4.3
"""
@title Where the current round stands
@license MIT
@notice Number, phase and starting model of the round, shared by the modules that move it.
"""

# Phases of a round.
IDLE: constant(uint256) = 0
OPEN: constant(uint256) = 1
CLOSED: constant(uint256) = 2
AGGREGATED: constant(uint256) = 3

round: public(uint256)
phase: public(uint256)
# The model that hospitals start from: the last one accepted.
model: public(bytes32)


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
