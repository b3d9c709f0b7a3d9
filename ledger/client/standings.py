"""Every hospital's reputation and suspension, read once and then followed by the events.

Reading hundreds of words from the contract costs more than the round that changed them, and the
contract announces each change; so as long as no block came in between that was not seen here, the
events are enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.protocol.contract import Event


@dataclass(frozen=True)
class Standings:
    """What holds after one block.

    Attributes:
        head: hash of that block.
        reputations: of every hospital, in units of 10**-18.
        suspended: of every hospital.
    """

    head: bytes
    reputations: tuple[int, ...]
    suspended: tuple[bool, ...]

    def after(self, events: Iterable[Event], head: bytes) -> "Standings | None":
        """The same after the next block; None if hospitals were admitted in it."""
        reputations, suspended = list(self.reputations), list(self.suspended)
        for event in events:
            match event.name:
                case "ReputationChanged":
                    # Only hospitals in good standing are judged, and a reinstated one is in it.
                    hospital = event.args["hospital"]
                    reputations[hospital], suspended[hospital] = event.args["after"], False
                case "Suspended":
                    suspended[event.args["hospital"]] = True
                case "Registered":
                    return None
        return Standings(head, tuple(reputations), tuple(suspended))
