"""One federated round, as a function from one explicit state to the next.

1. broadcast     the model whose hash the chain holds
2. train         every hospital that is not suspended
3. attack        malicious hospitals craft what they send (they trained on poisoned rows)
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
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import torch

from attacks.base import trigger_moves
from attacks.memory import pack
from secure_fl import seeds
from secure_fl.backends.session import Session
from secure_fl.files import sha256
from secure_fl.hospital.hospital import protect
from secure_fl.hospital.training import train
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.server.guard import RootDirections
from secure_fl.server.samples import bounded
from secure_fl.server.server import Server
from secure_fl.server.validation import Verdict, medians
from secure_fl.simulation.attack_round import (
    Acting,
    begin,
    crafted,
    instruct,
    remember,
    step_hooks,
    training_rows,
)
from secure_fl.simulation.clear_rule import ClearRule
from secure_fl.simulation.context import RunContext, State
from secure_fl.simulation.folder import TRIGGER_HASH, model_bytes
from secure_fl.simulation.journal import Journal
from secure_fl.simulation.knowledge import Scene, held
from secure_fl.simulation.parties import minimum_hospitals
from secure_fl.simulation.round_ledger import RoundLedger


class Played(NamedTuple):
    """One round's outcome.

    Attributes:
        state: the next one.
        row: of `rounds.jsonl`.
        openings: rows of `openings.jsonl`.
        refused: the model proposed, float32 (d,), if the contract rolled it back.
    """

    state: State
    row: dict[str, Any]
    openings: list[dict[str, Any]]
    refused: torch.Tensor | None


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


def taking_part(context: RunContext, state: State, number: int) -> list[int]:
    """Hospitals that send in round `number`: those drawn for it, not away and not suspended.

    Nobody does where so few are left that the nodes would refuse to combine them.
    """
    config, hospitals = context.config, context.federation.hospitals
    present = config.participation.present(number, hospitals, config.seed)
    active = [i for i in present if not state.suspended[i]]
    least = minimum_hospitals(context.defence, context.config, context.attackers.count)
    return active if len(active) >= least else []


class Sent(NamedTuple):
    """What hospitals hand in, float32 (n, d), zero for absent ones, and the attack's parts."""

    updates: torch.Tensor
    acting: list[Acting]


def local_updates(scene: Scene, journal: Journal | None = None) -> Sent:
    """Steps 2 to 4: what each active hospital would send, or what it sent in a run cut off."""
    kept = None if journal is None else journal.read(scene)
    if kept is not None:
        return Sent(*kept)
    sent = _trained(scene)
    if journal is not None:
        journal.write(scene, *sent)
    return sent


def _trained(scene: Scene) -> Sent:
    context, state, active = scene.context, scene.state, list(scene.active)
    updates = torch.zeros(context.federation.hospitals, state.model.numel(), dtype=torch.float32)
    if not active:
        return Sent(updates, [])
    seed = context.config.seed
    acting = begin(scene)
    splits = training_rows(scene, acting)
    updates[active] = train(
        context.federation.model,
        state.model,
        [splits[i] for i in active],
        context.options,
        [seeds.integer(seed, "training", scene.number, i) for i in active],
        step_hooks(scene, acting),
    )
    sent, acting = crafted(scene, acting, updates)
    bound = context.config.privacy
    clipped = protect(context.hospitals, scene.number, sent, bound.clip_norm, bound.noise_sigma)
    attacking = [seat for part in acting for seat in part.seats]
    if not bound.bind_malicious:
        clipped[attacking] = sent[attacking]
    absent = torch.ones(len(clipped), dtype=torch.bool)
    absent[active] = False
    clipped[absent] = 0.0  # noise fell on their zero rows too
    clipped[attacking] = held(clipped[attacking], context.rule.limit)
    return Sent(clipped, acting)


def scene_of(
    context: RunContext,
    state: State,
    number: int,
    active: Sequence[int],
    server: Server,
    root: Callable[[], RootDirections | None],
) -> Scene:
    """A round as it begins, for the attackers.

    Args:
        context, state: of the run.
        number: of the round, from 1.
        active: seats that take part, ascending.
        server: of the run.
        root: gives the round's root directions.
    """

    def rule() -> ClearRule:
        directions = root()
        trust = state.reputation if context.defence.reputation else None
        count = context.federation.hospitals
        return ClearRule(
            context.rule,
            context.rule.init() if state.rule_states is None else state.rule_states,
            number,
            state.update,
            torch.tensor(trust or [1.0] * count, dtype=torch.float64),
            torch.tensor(
                counted(context, active) if context.rule.weighs_samples else [1.0] * count,
                dtype=torch.float64,
            ),
            None if directions is None else directions.reference.double(),
            minimum_hospitals(context.defence, context.config, context.attackers.count),
            state.model if context.rule.uses_model else None,
        )

    return Scene(context, state, number, active, rule, server, root)


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


def judge(context: RunContext, model: torch.Tensor, number: int) -> list[Verdict]:
    """What the validators say of a model (d,) in a round; see `Validator.judge`."""
    return [each.judge(context.federation, model, number) for each in context.validators]


def run_round(
    context: RunContext,
    server: Server,
    ledger: RoundLedger,
    session: Session,
    state: State,
    number: int,
    journal: Journal | None = None,
) -> Played:
    """Play round `number` (1, 2, ...) from `state`; updates that the journal has are not made."""
    clock = Clock()
    spent_before = ledger.cost_ms
    before = model_hash(state.model)
    active = taking_part(context, state, number)
    with clock.phase("ledger"):
        ledger.open_round(number, before)
    directions = cache(partial(server.directions, state.model, number))
    scene = scene_of(context, state, number, active, server, directions)
    with clock.phase("train"):
        updates, acting = local_updates(scene, journal)
    with clock.phase("server"):
        root = directions()
    with clock.phase("share"):
        if context.attackers.cheats():
            instruct(scene, acting, context.defence.nodes)
        present = [i in active for i in range(len(updates))]
        submission = session.submit(updates.to(torch.float64), present, copy=False)
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
        reference=None if root is None else root.reference,
        commitments=recorded,
        ruled=settled.ruled,
        samples=samples,
        model=state.model if session.rule.uses_model else None,
    )
    with clock.phase("server"):
        step = server.step(state.model, result, root, state.server)
    candidate = step.candidate
    with clock.phase("validate"):
        verdicts = judge(context, candidate, number)
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
    memories = remember(scene, acting)
    following = State(
        model,
        torch.tensor(decision.suspended),
        decision.reputation,
        step.state,
        step.stopped,
        accepted,
        result.update,
        memories,
        _followed(scene, updates, sorted(settled.in_play)),
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
    if trigger_moves(context.attack) and memories[0] is not None:
        row[TRIGGER_HASH] = sha256(pack(memories[0]))
    return Played(following, row, opened, None if decision.keep else candidate)


def close(
    context: RunContext,
    server: Server,
    ledger: RoundLedger,
    session: Session,
    state: State,
    number: int,
    records: bytes,
) -> tuple[torch.Tensor, dict[str, Any], torch.Tensor | None]:
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
        The final model, float32 (d,), the content of `closing.json`, and the model proposed if the
        contract rolled it back: the last round's is then the final one.
    """
    spent_before = ledger.cost_ms
    final = server.finish(state.model, state.server)
    verdicts = judge(context, final, number)
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
    closing = {
        "entry": number,
        **measured(verdicts),
        "status": decision.status,
        "records_sha256": digest,
        "candidate_sha256": model_hash(final),
        "model_sha256": model_hash(model),
        "ledger_ms": ledger.cost_ms - spent_before,
    }
    return model, closing, None if decision.keep else final


def _followed(
    scene: Scene, updates: torch.Tensor, in_play: Sequence[int]
) -> tuple[Any, ...] | None:
    """States of the rule in the clear after a round; None where no attack knows the rule."""
    if not scene.context.attackers.knows("rule"):
        return None
    return scene.rule().combine(updates[list(in_play)], in_play)[2]
