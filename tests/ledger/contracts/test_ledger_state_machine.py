"""Random histories: the contract against the Python model, step by step.

The machine tries every call in every phase, right or wrong; the model says whether it must be
refused, and after each step both must agree on every hospital. The chain is rolled back between
examples.
"""

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import ledger
from ledger.client.consortium import Consortium
from ledger.protocol import reputation
from ledger.protocol.parameters import SCALE, Parameters, loss_to_fixed, to_fixed
from ledger.protocol.reputation import Limits, Metrics, Rule, Standing
from ledger.protocol.words import hospital_record
from tests.ledger.conftest import HOSPITALS, MODEL, VALIDATORS, digest, small_chain

PARAMETERS = [
    Parameters(quorum=2),
    Parameters(quorum=1, rejection_keep=0.3, repetition_step=0.0, abnormal_keep=0.5, initial=0.6),
    Parameters(quorum=3, growth=0.37, probation_rounds=1, accuracy_drop=0.0, reinstated=0.2),
]
numbers = st.integers(0, HOSPITALS - 1)
fractions = st.floats(0, 1, allow_nan=False)
SIXTEEN = settings(max_examples=16, stateful_step_count=30, suppress_health_check=list(HealthCheck))
verdicts = st.lists(st.sampled_from([True, False, None]), min_size=HOSPITALS, max_size=HOSPITALS)


class History(RuleBasedStateMachine):
    """The model is the attributes below; `client` is the contract."""

    client: ClassVar[Consortium]
    seen: ClassVar[Counter[str]]

    @initialize()
    def begin(self) -> None:
        self.before = self.client.connection.chain.snapshot()
        self.adopt(PARAMETERS[0])
        self.round, self.phase, self.model = 0, "idle", bytes(32)
        self.candidate = bytes(32)
        self.baseline: Metrics | None = None
        self.standings = [Standing(SCALE)] * HOSPITALS
        self.committed: set[int] = set()
        self.verdict: dict[int, bool] = {}
        self.measured: dict[int, Metrics] = {}
        self.since = 0

    def teardown(self) -> None:
        self.client.connection.chain.restore(self.before)

    def adopt(self, parameters: Parameters) -> None:
        self.rule = Rule(*parameters.rule_words())
        self.limits = Limits(*parameters.limit_words())

    def attempt(self, allowed: bool, step: Callable[[], object]) -> bool:
        """Take the step; it must succeed if and only if the model allows it."""
        if allowed:
            step()
        else:
            with pytest.raises(ledger.Reverted):
                step()
            self.seen["refused"] += 1
        return allowed

    def passed(self) -> bool:
        """Whether a block lies between the last step and the next one."""
        return self.client.connection.chain.height > self.since

    def complete(self, committed: set[int]) -> bool:
        return all(i in committed or self.standings[i].suspended for i in range(HOSPITALS))

    def stepped(self) -> None:
        self.since = self.client.connection.chain.height

    @rule()
    def wait(self) -> None:
        self.client.connection.reach(self.client.connection.chain.height + 2)

    @rule(skip=st.integers(0, 5), stale=st.integers(0, 5))
    def open_round(self, skip: int, stale: int) -> None:
        number = self.round + (2 if skip == 5 else 1)
        first = not any(self.model)
        model = digest("stale") if stale == 5 else (MODEL if first else self.model)
        allowed = self.phase == "idle" and skip != 5 and (first or stale != 5)
        if self.attempt(allowed, lambda: self.client.open_round(number, model)):
            self.round, self.phase, self.model = number, "open", model
            self.committed, self.verdict, self.measured = set(), {}, {}
            self.stepped()

    @rule(who=st.sets(numbers), signer=st.none() | numbers, last=st.booleans())
    def commit(self, who: set[int], signer: int | None, last: bool) -> None:
        key = None if signer is None else self.client.members.hospitals[signer]
        signed = [
            self.client.sign_commitment(i, self.round, self.model, digest(self.round, i), key)
            for i in sorted(who)
        ]
        new = who - self.committed
        allowed = (
            self.phase == "open"
            and all(signer in (None, i) and not self.standings[i].suspended for i in new)
            and (not last or self.passed() or self.complete(self.committed | who))
        )
        if self.attempt(allowed, lambda: self.client.submit_commitments(self.round, signed, last)):
            self.committed |= who
            self.phase = "closed" if last else "open"
            if last:
                self.stepped()
            self.seen["passed over"] += len(who) - len(new)

    @rule(who=st.sets(numbers, min_size=1), forger=st.none() | numbers)
    def post(self, who: set[int], forger: int | None) -> None:
        """All under one root, of which the contract checks no signature until it is revealed."""
        signed = [
            self.client.sign_commitment(
                i,
                self.round,
                self.model,
                digest(self.round, i),
                self.client.members.nodes[0] if i == forger else None,
            )
            for i in sorted(who)
        ]
        new = who - self.committed
        allowed = (
            self.phase == "open"
            and self.passed()
            and not any(self.standings[i].suspended for i in who)
        )
        if self.attempt(allowed, lambda: self.client.post_commitments(self.round, signed)):
            self.committed |= who
            self.phase = "closed"
            self.stepped()
            self.seen["posted"] += 1
            for i in sorted(new):
                self.client.reveal_commitment(self.round, i)
                if i == forger:
                    self.phase = "idle"
                    self.seen["void"] += 1
                    break

    @rule(verdict=verdicts, number=st.integers(0, 999))
    def record(self, verdict: list[bool | None], number: int) -> None:
        given = {i: flag for i, flag in enumerate(verdict) if flag is not None}
        # Mostly give a verdict on exactly those who committed, so that rounds get finished.
        if number % 5:
            given = {i: given.get(i, True) for i in self.committed}
        model = digest("model", number)
        allowed = self.phase == "closed" and set(given) == self.committed
        if self.attempt(
            allowed, lambda: self.client.record_aggregate(self.round, model, given, model)
        ):
            self.phase, self.candidate, self.verdict = "aggregated", model, given

    @rule(
        who=st.sets(st.integers(0, VALIDATORS - 1), min_size=1),
        metrics=st.tuples(fractions, st.floats(0, 3), fractions),
    )
    def attest(self, who: set[int], metrics: tuple[float, float, float]) -> None:
        told = [metrics if i in who else None for i in range(VALIDATORS)]
        allowed = self.phase == "aggregated"
        if self.attempt(allowed, lambda: self.client.attest(self.round, told, self.candidate)):
            fixed = Metrics(to_fixed(metrics[0]), loss_to_fixed(metrics[1]), to_fixed(metrics[2]))
            self.measured = dict.fromkeys(who, fixed) | self.measured  # the first ones stand

    @rule()
    def finalize(self) -> None:
        allowed = self.phase == "aggregated" and len(self.measured) >= self.limits.quorum
        if not self.attempt(allowed, lambda: self.client.finalize(self.round)):
            return
        medians = reputation.medians(list(self.measured.values()))
        abnormal = reputation.degraded(medians, self.baseline, self.limits)
        if not abnormal:
            self.model, self.baseline = self.candidate, medians
        for hospital, flag in self.verdict.items():
            if not flag:
                move = reputation.rejected
            elif abnormal:
                move = reputation.accepted_in_abnormal_round
            else:
                move = reputation.accepted
            self.standings[hospital] = move(self.standings[hospital], self.rule)
        self.phase = "idle"
        self.seen["abnormal" if abnormal else "good"] += 1
        self.seen["suspended"] += sum(s.suspended for s in self.standings)

    @rule(
        verdict=verdicts,
        number=st.integers(0, 999),
        accuracy=st.sampled_from([0.6, 0.7, 0.74, 0.76, 0.8]),
        pardon=st.booleans(),
        posting=st.integers(0, 5),
    )
    def whole_round(
        self,
        verdict: list[bool | None],
        number: int,
        accuracy: float,
        pardon: bool,
        posting: int,
    ) -> None:
        """What random single steps seldom reach: a round from where it stands to its end."""
        if pardon and any(standing.suspended for standing in self.standings):
            self.reinstate(0, True)
        self.open_round(0, 0)
        free = {i for i in range(HOSPITALS) if not self.standings[i].suspended}
        missing = free - self.committed
        self.wait()
        if posting in (1, 4) and missing:  # one by itself, whom the others' batch has again
            self.commit({max(missing)}, None, False)
            missing = free
        if posting > 2 and missing:
            self.post(missing, min(missing) if posting == 5 else None)
        else:
            self.commit(free, None, True)
        self.record(verdict, number * 5 + 1)
        silent = set(range(VALIDATORS)) - set(self.measured)
        if silent and self.phase == "aggregated":
            self.attest(silent, (accuracy, 0.5, 0.5))
        self.finalize()

    @rule(seldom=st.integers(0, 3))
    def abandon(self, seldom: int) -> None:
        if seldom == 3:
            decided = self.phase == "aggregated" and len(self.measured) >= self.limits.quorum
            allowed = self.phase != "idle" and not decided
            if self.attempt(allowed, lambda: self.client.abandon_round(self.round)):
                self.phase = "idle"

    @rule(hospital=numbers, sensible=st.booleans())
    def reinstate(self, hospital: int, sensible: bool) -> None:
        suspended = [i for i in range(HOSPITALS) if self.standings[i].suspended]
        if sensible and suspended:
            hospital = suspended[hospital % len(suspended)]
        allowed = self.standings[hospital].suspended
        if self.attempt(allowed, lambda: self.client.administration.reinstate(hospital)):
            self.standings[hospital] = reputation.reinstated(self.rule)
            self.seen["reinstated"] += 1

    @rule(parameters=st.sampled_from(PARAMETERS))
    def set_parameters(self, parameters: Parameters) -> None:
        allowed = self.phase == "idle"
        if self.attempt(allowed, lambda: self.client.administration.set_parameters(parameters)):
            self.adopt(parameters)

    @invariant()
    def agree(self) -> None:
        words = self.client.connection.read("hospital_words", 0, HOSPITALS)
        held = [hospital_record(word).standing for word in words]
        assert held == self.standings
        assert all(0 <= standing.reputation <= SCALE for standing in held)
        assert self.client.model_hash == self.model


def test_random_histories() -> None:
    """Sixteen histories, and sixteen more until they went often where the rule is interesting.

    Which cases Hypothesis tries depends on the modules that are loaded, so on the tests before
    this one: no single batch can be relied on to reach every corner.
    """
    History.client, History.seen = small_chain(seed=11), Counter()
    wanted = ("good", "abnormal", "suspended", "reinstated", "refused", "posted", "void")
    wanted += ("passed over",)
    for batch in range(6):
        machine = type(f"History{batch}", (History,), {})
        if settings.default.derandomize:
            machine = seed(batch)(machine)
        run_state_machine_as_test(machine, settings=SIXTEEN)
        if all(History.seen[what] > 4 for what in wanted):
            return
    raise AssertionError(f"too seldom in 96 histories: {History.seen}")
