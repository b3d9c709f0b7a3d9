"""What an audit finds on a chain: records of rounds, reputations that moved, faults."""

from dataclasses import dataclass, field

from ledger.protocol.reputation import Metrics


@dataclass(frozen=True)
class Fault:
    """Something that does not hold.

    Attributes:
        place: where, in words: the line of the file, or block and call.
        fault: what is wrong there.
    """

    place: str
    fault: str


@dataclass(frozen=True)
class Change:
    """A hospital's reputation moved, in units of 10**-18."""

    hospital: int
    before: int
    after: int
    reason: str
    suspended: bool


@dataclass
class RoundRecord:
    """Everything the chain holds of one round.

    Attributes:
        round: its number; 0 is the attestation of the initial model.
        blocks: numbers of the blocks with its calls.
        model: hash of the model that it started from.
        commitments: root by hospital.
        posted_root: root of the tree over them; empty where the contract verified each.
        forged: hospitals under that root whose commitment is not signed by them.
        claimed: hospitals that the coordinator left out and that were put in.
        opened: by node, the hospitals whose shares opened there.
        result, candidate: hashes of the aggregate and of the model made from it.
        accepted, rejected: hospitals by the nodes' verdict (rejected: faulty ones included).
        metrics: by validator.
        disputes: (hospital, node, whether the hospital is at fault).
        status: "open", "accepted", "abnormal", "abandoned" or "void" (the coordinator's fault).
        medians: of the metrics, once finalized.
        next_model: hash of the model that stands after the round.
        changes: reputations that moved.
        reputations: of all hospitals after the round, in units of 10**-18.
        suspended: of all hospitals after the round.
    """

    round: int
    model: bytes
    blocks: list[int] = field(default_factory=list)
    commitments: dict[int, bytes] = field(default_factory=dict)
    posted_root: bytes = b""
    forged: list[int] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    opened: dict[int, list[int]] = field(default_factory=dict)
    result: bytes = b""
    candidate: bytes = b""
    accepted: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    metrics: dict[int, Metrics] = field(default_factory=dict)
    disputes: list[tuple[int, int, bool]] = field(default_factory=list)
    status: str = "open"
    medians: Metrics | None = None
    next_model: bytes = b""
    changes: list[Change] = field(default_factory=list)
    reputations: list[int] = field(default_factory=list)
    suspended: list[bool] = field(default_factory=list)
