"""One federated round, as a function from one explicit state to the next.

1. broadcast     the model whose hash the chain holds
2. train         every hospital that is not suspended
3. attack        malicious hospitals craft what they send (their rows were poisoned before)
4. clip, noise   bound each update's norm, optionally add Gaussian noise
5. share         hospitals encode and split their updates
6. commit        signed commitments go on the chain before anything is combined; nodes attest whose
                 shares opened there, and the contract decides on disputes
7. aggregate     the defence's rule, on its backend
8. validate      each validator tests the candidate; the chain keeps it or rolls it back
9. record        hashes, metrics and verdicts on each hospital
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch

from attacks import Attack, AttackView
from attacks.base import in_sight
from secure_fl import seeds
from secure_fl.backends.session import Session
from secure_fl.data import Split
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.files import sha256
from secure_fl.hospital.hospital import Hospital, protect
from secure_fl.hospital.training import TrainOptions, train
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.server.samples import bounded
from secure_fl.server.server import Server
from secure_fl.server.validation import Validator, Verdict, medians
from secure_fl.settings.schema import DefenceConfig, ExperimentConfig
from secure_fl.simulation.folder import model_bytes
from secure_fl.simulation.parties import minimum_hospitals
from secure_fl.simulation.round_ledger import RoundLedger


@dataclass(frozen=True)
class RunContext:
    """What stays the same over the rounds of a run.

    Attributes:
        config: settings of the experiment.
        defence: the defence of this run.
        federation: data, model and initial parameters.
        attack: the attack of this run.
        malicious: indices of the malicious hospitals, ascending.
        splits: rows that each hospital trains on, poisoned where it is malicious.
        claims: number of rows that each hospital says it has.
        options: local training.
        hospitals: them, who hold those rows.
        validators: them, in order of seat.
    """

    config: ExperimentConfig
    defence: DefenceConfig
    federation: Federation
    attack: Attack
    malicious: tuple[int, ...]
    splits: list[Split]
    claims: tuple[int, ...]
    options: TrainOptions
    hospitals: tuple[Hospital, ...]
    validators: tuple[Validator, ...]


@dataclass(frozen=True)
class State:
    """What one round hands to the next.

    Attributes:
        model: float32 (d,), the last model that was kept.
        suspended: bool (n,), hospitals that the chain keeps out.
        reputation: of each hospital on the chain, in [0, 1]; None before round 1 or without one.
        server: the server's own state.
        stopped: whether the server expects nothing of further rounds.
    """

    model: torch.Tensor
    suspended: torch.Tensor
    reputation: list[float] | None = None
    server: Any = None
    stopped: bool = False


class Played(NamedTuple):
    """One round's outcome: the next state, a row of `rounds.jsonl`, rows of `openings.jsonl`."""

    state: State
    row: dict[str, Any]
    openings: list[dict[str, Any]]


@dataclass
class Clock:
    """Wall-clock seconds by phase of a round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def taking_part(context: RunContext, state: State) -> list[int]:
    """Hospitals that send in this round: those not suspended.

    Nobody does where so few are left that the nodes would refuse to combine them.
    """
    active = [i for i, out in enumerate(state.suspended.tolist()) if not out]
    least = minimum_hospitals(context.defence, context.config, len(context.malicious))
    return active if len(active) >= least else []


def local_updates(
    context: RunContext, state: State, number: int, active: list[int]
) -> torch.Tensor:
    """Steps 2 to 4: what each active hospital would send.

    Args:
        context: the run.
        state: the model to start from.
        number: the round, which selects the random streams.
        active: hospitals that take part, ascending.

    Returns:
        float32 (n, d); rows of absent hospitals are zero.
    """
    if not active:
        return torch.zeros(context.federation.hospitals, state.model.numel(), dtype=torch.float32)
    seed = context.config.seed
    trained = train(
        context.federation.model,
        state.model,
        [context.splits[i] for i in active],
        context.options,
        [seeds.integer(seed, "training", number, i) for i in active],
    )
    updates = torch.zeros(context.federation.hospitals, state.model.numel(), dtype=torch.float32)
    updates[active] = trained
    sent = craft(context, state, number, active, updates)
    bound = context.config.privacy
    clipped = protect(context.hospitals, number, sent, bound.clip_norm, bound.noise_sigma)
    if not bound.bind_malicious:
        free = list(context.malicious)
        clipped[free] = sent[free]
    absent = torch.ones(len(clipped), dtype=torch.bool)
    absent[active] = False
    clipped[absent] = 0.0  # noise fell on their zero rows too
    return clipped


def craft(
    context: RunContext, state: State, number: int, active: list[int], updates: torch.Tensor
) -> torch.Tensor:
    """Step 3: replace the malicious hospitals' rows by what the attack sends: (n, d).

    Where no honest hospital takes part, an omniscient attack sees its own updates in their place.

    Raises:
        InputError: the attack returned another shape.
    """
    attackers = [i for i in active if i in context.malicious]
    if not attackers:
        return updates
    own = updates[attackers]
    others = [i for i in active if i not in context.malicious]
    honest = in_sight(updates[others], own) if context.attack.knowledge == "omniscient" else own
    view = AttackView(
        round=number - 1,
        num_hospitals=len(active),
        num_malicious=len(attackers),
        rng=seeds.torch_generator(context.config.seed, "craft", number),
        global_model=state.model,
        clip_norm=context.config.privacy.clip_norm,
        defence=context.defence.name,
    )
    crafted = context.attack.craft(honest.clone(), own.clone(), view)
    if tuple(crafted.shape) != tuple(own.shape):
        raise InputError(
            f"attack {context.attack} must return updates of shape {tuple(own.shape)}; "
            f"got {tuple(crafted.shape)}"
        )
    sent = updates.clone()
    sent[attackers] = crafted.to(sent.dtype)
    return sent


def counted(context: RunContext, in_play: Collection[int]) -> list[float]:
    """Rows that each hospital counts for in a round: its claim, bounded among those in play."""
    rows = [0.0] * context.federation.hospitals
    claims = [context.claims[i] for i in in_play]
    for i, count in zip(in_play, bounded(claims, context.defence.samples_cap), strict=True):
        rows[i] = count
    return rows


def model_hash(model: torch.Tensor) -> str:
    """SHA-256 of the model's file, as it is on the chain and in the run folder."""
    return sha256(model_bytes(model))


def measured(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    """Medians of the validators for a row; JSON has no NaN or infinity: null stands for them."""
    middle = medians(verdicts)._asdict()
    return {name: value if math.isfinite(value) else None for name, value in middle.items()}


def judge(context: RunContext, model: torch.Tensor) -> list[Verdict]:
    """What the validators measure on a model (d,)."""
    return [validator.judge(context.federation, model) for validator in context.validators]


def run_round(
    context: RunContext,
    server: Server,
    ledger: RoundLedger,
    session: Session,
    state: State,
    number: int,
) -> Played:
    """Play round `number` (1, 2, ...) from `state`."""
    clock = Clock()
    spent_before = ledger.cost_ms
    before = model_hash(state.model)
    active = taking_part(context, state)
    with clock.phase("ledger"):
        ledger.open_round(number, before)
    with clock.phase("train"):
        updates = local_updates(context, state, number, active)
    with clock.phase("server"):
        root = server.directions(state.model, number)
    with clock.phase("share"):
        present = [i in active for i in range(len(updates))]
        submission = session.submit(_saturated(context, updates, session.rule.limit), present)
    with clock.phase("ledger"):
        recorded = ledger.commit(number, submission.commitments, context.hospitals)
    committed = submission.commitments if recorded is None else recorded
    with clock.phase("share"):
        findings = session.check_shares(committed, ledger.posted_root)
    with clock.phase("ledger"):
        settled = ledger.settle(number, committed, findings)
    samples = counted(context, settled.in_play) if session.rule.weighs_samples else None
    result = session.aggregate(
        submission,
        reputation=state.reputation if context.defence.reputation else None,
        reference=None if root is None else root.update,
        commitments=recorded,
        ruled=settled.ruled,
        samples=samples,
    )
    with clock.phase("server"):
        step = server.step(state.model, result, root, state.server)
    candidate = step.candidate
    with clock.phase("validate"):
        verdicts = judge(context, candidate)
    accepted = verdicts_on_hospitals(result.accepted, settled.in_play)
    opened = openings(number, result)
    update_sha256, candidate_sha256 = update_hash(result.update), model_hash(candidate)
    result_sha256 = result_hash(number, accepted, opened, update_sha256)
    with clock.phase("ledger"):
        signed = session.sign_result(result_sha256, candidate_sha256)
        decision = ledger.decide(
            number,
            result_sha256,
            accepted,
            candidate_sha256,
            verdicts,
            context.validators,
            signed,
        )
    model = candidate if decision.keep else state.model
    following = State(
        model, torch.tensor(decision.suspended), decision.reputation, step.state, step.stopped
    )
    unopened = sorted(set(committed) - settled.in_play)
    said = {} if findings is None else findings.refused
    refused = submission.refused | {h: said[h] for h in unopened if h in said}
    cost = result.cost
    shared = context.defence.backend == "mpc"
    clock.seconds["mpc_online" if shared else "aggregate"] = cost.seconds_online
    clock.seconds["mpc_offline"] = cost.seconds_offline
    row = {
        "round": number,
        **measured(verdicts),
        "status": decision.status,
        "stopped": step.stopped,
        "accepted": accepted,
        "refused": {str(hospital): why for hospital, why in refused.items()},
        "unopened": unopened,
        "disputes": [asdict(ruling) for ruling in settled.rulings],
        "suspended": [i for i, out in enumerate(decision.suspended) if out],
        "reputation": decision.reputation,
        "samples": samples,
        "seconds": clock.seconds,
        "ledger_ms": ledger.cost_ms - spent_before,
        "mpc": {
            "rounds": cost.rounds,
            "bytes_online": cost.bytes_online,
            "bytes_offline": cost.bytes_offline,
        },
        "update_sha256": update_sha256,
        "result_sha256": result_sha256,
        "candidate_sha256": candidate_sha256,
        "model_sha256": model_hash(model),
    }
    return Played(following, row, opened)


def close(
    context: RunContext,
    server: Server,
    ledger: RoundLedger,
    session: Session,
    state: State,
    number: int,
    records: bytes,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Finish the model and record it: one more entry on the chain, in which no hospital takes part.

    Args:
        context: the run.
        server: finishes the model.
        ledger: the chain, or nobody.
        state: after the last round.
        session: whose nodes sign, if they do.
        number: of the entry, one above the last round.
        records: all records of the run (`records_content`); the nodes sign their SHA-256.

    Returns:
        The final model, float32 (d,), and the content of `closing.json`.
    """
    spent_before = ledger.cost_ms
    final = server.finish(state.model, state.server)
    verdicts = judge(context, final)
    ledger.open_round(number, model_hash(state.model))
    ledger.commit(number, {}, context.hospitals)
    absent = [None] * context.federation.hospitals
    findings, signed = session.sign_closing(number, model_hash(final), records) or (None, None)
    ledger.settle(number, (), findings)
    digest = sha256(records)
    decision = ledger.decide(
        number, digest, absent, model_hash(final), verdicts, context.validators, signed
    )
    model = final if decision.keep else state.model
    return model, {
        "entry": number,
        **measured(verdicts),
        "status": decision.status,
        "records_sha256": digest,
        "candidate_sha256": model_hash(final),
        "model_sha256": model_hash(model),
        "ledger_ms": ledger.cost_ms - spent_before,
    }


def _saturated(context: RunContext, updates: torch.Tensor, limit: float) -> torch.Tensor:
    """Malicious rows held inside the range that a share can encode.

    A row outside it is refused at the door and harms nobody; an attacker who wants to be counted
    sends the largest value that passes. NaN stays NaN, and is refused.
    """
    edge = limit - 2.0**-16
    rows = list(context.malicious)
    held = updates.clone()
    held[rows] = held[rows].clamp(-edge, edge)
    return held
