"""Who takes part and where they stand, recomputed from administrators' calls and signatures."""

from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from ledger.audit.round_record import Change, Fault
from ledger.errors import LedgerError
from ledger.members.keys import Signature, recover
from ledger.members.members import (
    ADMINISTRATOR,
    COORDINATOR,
    HOSPITAL,
    MAX_HOSPITALS,
    MAX_SEATS,
    ROLE_NAMES,
)
from ledger.protocol import reputation
from ledger.protocol.contract import Event
from ledger.protocol.messages import Messages
from ledger.protocol.reputation import Limits, Rule, Standing, Timing

_REASONS = {"accepted": 1, "rejected": 2, "accepted into an abnormal round": 3, "reinstated": 4}


def _in_words(rule: Rule, limits: Limits, timing: Timing) -> str:
    """Parameters as decimal numbers with their names."""
    counts = ("probation_rounds", "quorum", *asdict(timing))
    return ", ".join(
        f"{name.replace('_', ' ')} {value if name in counts else value / reputation.SCALE:g}"
        for name, value in {**asdict(rule), **asdict(limits), **asdict(timing)}.items()
    )


class Membership:
    """Members, parameters and reputations, as the administrators' calls and the rounds make them.

    Attributes:
        seats: addresses by role, in seat order.
        certificates: certificate hash by (role, seat).
        standings: of the hospitals, in seat order.
        faults: what did not hold.
        signatures: how many signatures were checked.
        administration: administrators' changes, as (block, words).
        started: whether the contract was created.
        threshold: administrators who must approve a change.
    """

    def __init__(self, messages: Messages) -> None:
        self.seats: dict[int, list[bytes]] = {role: [] for role in range(1, 6)}
        self.certificates: dict[tuple[int, int], bytes] = {}
        self.standings: list[Standing] = []
        self.faults: list[Fault] = []
        self.signatures = 0
        self.administration: list[tuple[int, str]] = []
        self.threshold = 0
        self.started = False
        self._messages = messages
        self._nonce = 0
        self._rule: Rule
        self._limits: Limits
        self._timing: Timing
        self._place = ""
        self._block = 0

    def created(self, args: dict[str, Any]) -> None:
        """Take in the constructor's arguments."""
        self.started = True
        self.seats[ADMINISTRATOR] = list(args["administrators"])
        self.seats[COORDINATOR] = [args["coordinator"]]
        self.threshold = args["threshold"]
        self._adopt(args)

    def _register(self, args: dict[str, Any], events: list[Event]) -> None:
        role, accounts, certificates = args["role"], args["accounts"], args["certificates"]
        most = MAX_HOSPITALS if role == HOSPITAL else MAX_SEATS
        if len(self.seats[role]) + len(accounts) > most:
            raise LedgerError(f"registers more {ROLE_NAMES[role]}s than the {most} that have seats")
        digest = self._messages.register(role, accounts, certificates, self._nonce)
        self._check_approvals(digest, args["approvals"])
        for account, certificate in zip(accounts, certificates, strict=True):
            self.certificates[role, len(self.seats[role])] = certificate
            self.seats[role].append(account)
            if role == HOSPITAL:
                self.standings.append(Standing(self._rule.initial))
        self._note(f"registered {len(accounts)} {ROLE_NAMES[role]}(s)")

    def _replace_key(self, args: dict[str, Any], events: list[Event]) -> None:
        role, index = args["role"], args["index"]
        account, certificate = args["account"], args["certificate"]
        digest = self._messages.replace_key(role, index, account, certificate, self._nonce)
        self._check_approvals(digest, args["approvals"])
        self.seats[role][index] = account
        self.certificates[role, index] = certificate
        self._note(f"replaced the key of {ROLE_NAMES[role]} {index}")

    def _set_parameters(self, args: dict[str, Any], events: list[Event]) -> None:
        words = args["rule"], args["limits"], args["timing"]
        digest = self._messages.set_parameters(*words, self._nonce)
        self._check_approvals(digest, args["approvals"])
        self._adopt(args)
        self._note(f"set the parameters: {_in_words(self._rule, self._limits, self._timing)}")

    def _adopt(self, args: dict[str, Any]) -> None:
        self._rule, self._limits = Rule(*args["rule"]), Limits(*args["limits"])
        self._timing = Timing(*args["timing"])

    def _reinstate(self, args: dict[str, Any], events: list[Event]) -> None:
        hospital = args["hospital"]
        digest = self._messages.reinstate(hospital, self._nonce)
        self._check_approvals(digest, args["approvals"])
        after = reputation.reinstated(self._rule)
        change = self._move(hospital, after, "reinstated")
        self._expect_changes([change], events)
        self._note(f"reinstated hospital {hospital}")

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Words of the parameters in force, by name of the contract's variable; none before it."""
        if not self.started:
            return {}
        return {
            "rule": astuple(self._rule),
            "limits": astuple(self._limits),
            "timing": astuple(self._timing),
        }

    def check_words(self, words: Sequence[tuple[bytes, Standing]], place: str) -> None:
        """Compare the contract's record of every hospital with the verifier's own."""
        mine = list(zip(self.seats[HOSPITAL], self.standings, strict=True))
        for hospital, (held, expected) in enumerate(zip(words, mine, strict=True)):
            if held != expected:
                text = f"the contract holds {held} for hospital {hospital}, expected {expected}"
                self.faults.append(Fault(place, text))

    def _move(self, hospital: int, after: Standing, reason: str) -> Change:
        before = self.standings[hospital]
        self.standings[hospital] = after
        return Change(hospital, before.reputation, after.reputation, reason, after.suspended)

    def _expect_changes(self, changes: Sequence[Change], events: Sequence[Event]) -> None:
        emitted = [
            (args["hospital"], args["before"], args["after"], args["reason"])
            for args in (event.args for event in events if event.name == "ReputationChanged")
        ]
        mine = [(c.hospital, c.before, c.after, _REASONS[c.reason]) for c in changes]
        self._check(emitted == mine, f"reputations moved {emitted}, expected {mine}")

    def _check_approvals(self, digest: bytes, pairs: Sequence[tuple[bytes, int]]) -> None:
        signers = {recover(digest, Signature(*pair)) for pair in pairs}
        self.signatures += len(pairs)
        known = signers & set(self.seats[ADMINISTRATOR])
        self._check(len(known) >= self.threshold, "not approved by enough administrators")
        self._nonce += 1

    def _check_signature(self, digest: bytes, signature: Signature, role: int, seat: int) -> None:
        self.signatures += 1
        seats = self.seats[role]
        held = seat < len(seats) and recover(digest, signature) == seats[seat]
        self._check(held, f"the signature of {ROLE_NAMES[role]} {seat} is not its own")

    def _check(self, condition: bool, fault: str) -> None:
        if not condition:
            self.faults.append(Fault(self._place, fault))

    def _note(self, text: str) -> None:
        self.administration.append((self._block, text))
