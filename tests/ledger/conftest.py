"""One small consortium for all tests, rolled back after each of them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import ledger
from ledger.client.consortium import Consortium
from ledger.members.keys import simulation_key
from ledger.protocol.parameters import Parameters

HOSPITALS = 4
NODES = 2
VALIDATORS = 3
MODEL = hashlib.sha256(b"initial model").digest()
CANDIDATE = hashlib.sha256(b"candidate").digest()
RESULT = hashlib.sha256(b"result").digest()
# On the three hospitals that commit where a phase is wanted.
VERDICT = {0: True, 1: True, 2: True}
GOOD = [(0.8, 0.5, 0.7)] * VALIDATORS


def digest(*parts: object) -> bytes:
    """32 bytes that depend on the arguments alone."""
    return hashlib.sha256(repr(parts).encode()).digest()


def roots(round_number: int, hospitals: int = HOSPITALS) -> dict[int, bytes]:
    return {i: digest("root", round_number, i) for i in range(hospitals)}


def small_chain(seed: int = 0, **options: object) -> Consortium:
    parameters = options.pop("parameters", Parameters(quorum=2))
    options.setdefault("salt", b"tests")
    return ledger.open_chain(
        HOSPITALS,
        nodes=NODES,
        validators=VALIDATORS,
        seed=seed,
        parameters=parameters,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def play_round(
    client: Consortium,
    round_number: int,
    accepted: list[bool | None] | None = None,
    metrics: list[tuple[float, float, float]] | None = None,
) -> ledger.RoundOutcome:
    """One whole round from the client's model."""
    model = client.model_hash if any(client.model_hash) else MODEL
    candidate = digest("model", round_number)
    client.open_round(round_number, model)
    absent = {i for i, flag in enumerate(accepted or ()) if flag is None}
    taking_part = {i: root for i, root in roots(round_number).items() if i not in absent}
    refused = client.commit(round_number, taking_part)
    verdict = accepted or [None if i in refused else True for i in range(HOSPITALS)]
    client.record_aggregate(round_number, digest("sum", round_number), verdict, candidate)
    client.attest(round_number, metrics or GOOD, candidate)
    return client.finalize(round_number)


def story(client: Consortium) -> None:
    """A good round, an abnormal one, one with a suspension; a reinstatement; one abandoned."""
    play_round(client, 1, [False, True, True, None])
    play_round(client, 2, [False, True, False, None], [(0.5, 0.5, 0.7)] * 3)
    play_round(client, 3, [False, True, True, True])
    client.administration.reinstate(0)
    client.open_round(4, client.model_hash)
    client.commit(4, roots(4))
    client.abandon_round(4)


def play_three_hundred(client: Consortium) -> None:
    """One round with 300 hospitals and one validator; every third hospital is rejected."""
    client.open_round(1, MODEL)
    everybody = {i: digest(i) for i in range(300)}
    client.commit(1, everybody)
    assert client.commitments(1) == everybody
    client.record_aggregate(1, RESULT, [i % 3 != 0 for i in range(300)])
    client.attest(1, [(0.5, 0.5, 0.5)], RESULT)
    assert client.finalize(1).reputations == [1.0 if i % 3 else 0.5 for i in range(300)]


@contextmanager
def rolled_back(client: Consortium) -> Iterator[Consortium]:
    """The client, its chain as before at the end of the block."""
    before = client.connection.chain.snapshot()  # type: ignore[attr-defined]
    yield client
    client.connection.chain.restore(before)  # type: ignore[attr-defined]


def suspend_hospital_0(client: Consortium) -> None:
    """Play two rounds that cost hospital 0 its standing, and open the third."""
    client.administration.set_parameters(Parameters(rejection_keep=0.4, quorum=2))
    for round_number in (1, 2):
        play_round(client, round_number, [False, None, None, None])
    client.open_round(3, client.model_hash)


@pytest.fixture(scope="session")
def _shared() -> Consortium:
    return small_chain(funded=(simulation_key(50, "bystander", 0).address,))


@pytest.fixture
def client(_shared: Consortium) -> Iterator[Consortium]:
    """A consortium in which no round was opened yet."""
    with rolled_back(_shared) as client:
        yield client


@pytest.fixture
def to_phase(client: Consortium) -> Callable[[str], Consortium]:
    """Bring the consortium to a phase of round 1: idle, open, closed, shared, and so on."""

    def bring(phase: str) -> Consortium:
        steps = [
            ("open", lambda: client.open_round(1, MODEL)),
            ("closed", lambda: client.commit(1, {i: roots(1)[i] for i in range(3)})),
            ("shared", lambda: client.attest_shares(1)),
            ("aggregated", lambda: client.record_aggregate(1, RESULT, VERDICT, CANDIDATE)),
            ("attested", lambda: client.attest(1, GOOD, CANDIDATE)),
            ("over", lambda: client.finalize(1)),
        ]
        reached = "idle"
        for name, step in steps:
            if reached == phase:
                break
            step()
            reached = name
        assert reached == phase
        return client

    return bring
