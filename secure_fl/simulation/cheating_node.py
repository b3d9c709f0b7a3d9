"""A node that cheats, for simulations: a program of its own, told how at its start.

No message makes a node cheat: an honest one is another program, which loads nothing of this.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from ledger.members.keys import Signer
from secure_fl.faults import DENIAL, DENIAL_WITHOUT_RECEIPT
from secure_fl.nodes.attestation import Attester
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.inbox import NodeSession
from secure_fl.nodes.node import Node, serve_run

# How a node cheats: kinds by (round, hospital).
Plan = dict[tuple[int, int], str]


class CheatingAttester(Attester):
    """Signs for one session, but lies over some shares.

    Args:
        signer, session, contract: as of a `Attester`.
        plan: how it cheats.
    """

    def __init__(
        self, signer: Signer, session: NodeSession, contract: Contract, plan: Plan
    ) -> None:
        super().__init__(signer, session, contract)
        self._plan = plan

    def _cheats(self, number: int, hospital: int, *kinds: str) -> bool:
        return self._plan.get((number, hospital)) in kinds

    def receipts(self, number: int) -> dict[int, bytes]:
        """Receipts for all but those shares that it will deny without one."""
        return {
            hospital: receipt
            for hospital, receipt in super().receipts(number).items()
            if not self._cheats(number, hospital, DENIAL_WITHOUT_RECEIPT)
        }

    def _claimed(self, number: int) -> frozenset[int]:
        """Whose shares opened, without those that it denies."""
        return frozenset(
            hospital
            for hospital in super()._claimed(number)
            if not self._cheats(number, hospital, DENIAL, DENIAL_WITHOUT_RECEIPT)
        )


class CheatingNode(Node):
    """A node whose attester cheats.

    Args:
        plan: how.
        rest: as of a `Node`.
    """

    def __init__(self, plan: Plan, *rest: Any) -> None:
        super().__init__(*rest)
        self._plan = plan

    def _attester(self, signer: Signer, session: NodeSession, contract: Contract) -> Attester:
        return CheatingAttester(signer, session, contract, self._plan)


def main() -> int:
    """Read the start-up line on standard input, serve one run, return the exit status."""
    options = json.loads(sys.stdin.readline())
    plan = {(number, hospital): kind for number, hospital, kind in options.pop("faults")}
    return serve_run(options, partial(CheatingNode, plan))


if __name__ == "__main__":
    sys.exit(main())
