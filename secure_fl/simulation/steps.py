"""A run, one round at a time: what it writes as each round ends, and how it is closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from attacks.memory import pack
from secure_fl.backends.session import Backend
from secure_fl.errors import SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import append_line, write_atomic, write_json
from secure_fl.simulation.attacked_validators import with_public_rows
from secure_fl.simulation.consortium import open_ledger
from secure_fl.simulation.context import RunContext
from secure_fl.simulation.folder import (
    TRIGGER_HASH,
    model_bytes,
    model_path,
    records_content,
    refused_path,
    trigger_path,
)
from secure_fl.simulation.journal import Journal
from secure_fl.simulation.parties import keys_seed, make_server, signs
from secure_fl.simulation.round import State, close, judge, measured, model_hash, run_round
from secure_fl.simulation.round_ledger import Chain, Nobody
from secure_fl.simulation.run import (
    Observe,
    Report,
    Row,
    RunConfig,
    RunResult,
    make_context,
    open_session,
)
from secure_fl.simulation.secret import RunSecret


class RunSteps:
    """A run that its owner drives: `step` plays a round, `finish` closes the run.

    Iterating plays all rounds that are left and yields the row of each.

    Attributes:
        rows: of the rounds so far, the initial model first.
        state: after the last round: model, suspended hospitals, reputations.
        malicious: indices of the malicious hospitals.
    """

    def __init__(
        self,
        config: RunConfig,
        federation: Federation,
        backend: Backend,
        folder: Path,
        secret: RunSecret,
        observe: Observe | None = None,
        report: Report | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Open ledger and session and record the initial model; see `run_rounds`."""
        experiment = config.experiment
        own = secret.cell(config.sha256, federation.data_sha256)
        self._ledger: Chain | Nobody = Nobody(federation.hospitals)
        contract = members = None
        if config.defence.ledger:
            consortium = open_ledger(
                experiment.ledger,
                federation.hospitals,
                len(federation.data.validators),
                config.defence.nodes,
                keys_seed(experiment, secret),
                own.chain,
            )
            played = () if signs(config.defence) else consortium.nodes
            chain = self._ledger = Chain(consortium.carrier(), played)
            contract, members = chain.contract, consortium.members
        self._context = make_context(config, federation, own, contract, members)
        self._journal = journal
        self._server = make_server(
            with_public_rows(federation, self._context.attackers),
            config.defence,
            self._context.options,
            experiment.seed,
        )
        self._folder, self._rounds = folder, experiment.rounds
        self._records = Records(folder, observe, report)
        self._result: RunResult | None = None
        self._session = open_session(config, federation, backend, self._context.hospitals)
        self._open = True
        try:
            self.state = State(
                model=federation.initial,
                suspended=torch.zeros(federation.hospitals, dtype=torch.bool),
                server=self._server.init(federation.initial),
            )
            self._records.add(first_row(self._context, config), [], self.state)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> list[Row]:
        """Rows so far, the initial model first."""
        return self._records.rows

    @property
    def malicious(self) -> tuple[int, ...]:
        """Indices of the malicious hospitals."""
        return self._context.malicious

    @property
    def done(self) -> bool:
        """Whether no round is left: all were played, or the server expects nothing of more."""
        return self.state.stopped or len(self.rows) > self._rounds

    def step(self) -> Row:
        """Play the next round, write it down and return its row.

        Raises:
            SecureFLError: no round is left, or the run was closed.
        """
        if self.done or not self._open:
            raise SecureFLError("no round is left to run; finish() gives the result")
        number = len(self.rows)
        self.state, row, opened, refused = run_round(
            self._context,
            self._server,
            self._ledger,
            self._session,
            self.state,
            number,
            self._journal,
        )
        self._records.keep_refused(number, refused)
        return self._records.add(row, opened, self.state)

    def __iter__(self) -> Iterator[Row]:
        while not self.done:
            yield self.step()

    def finish(self) -> RunResult:
        """Finish the model, record it, and close; rounds that were not played stay out.

        Raises:
            SecureFLError: the run was closed before.
        """
        if self._result is not None:
            return self._result
        if not self._open:
            raise SecureFLError("the run was closed before it was finished")
        try:
            model, closed, refused = close(
                self._context,
                self._server,
                self._ledger,
                self._session,
                self.state,
                len(self.rows),
                self._records.content(),
            )
        finally:
            self.close()
        self._records.keep_refused(closed["entry"], refused)
        self._records.finish(closed, model)
        chain = self._ledger if isinstance(self._ledger, Chain) else None
        if chain is not None:
            chain.export(self._folder / "chain.jsonl", self._context.validators)
        self._result = RunResult(
            model=model,
            malicious=self.malicious,
            rows=self.rows,
            openings=self._records.openings,
            closing=closed,
            chain_head=None if chain is None else chain.head,
            ledger_ms=self._ledger.cost_ms,
            memory=self.state.measured_memory,
        )
        return self._result

    def close(self) -> None:
        """Close the session; its nodes forget it."""
        if self._open:
            self._open = False
            self._session.close()


def run_rounds(
    config: RunConfig,
    federation: Federation,
    backend: Backend,
    folder: Path,
    secret: RunSecret,
    observe: Observe | None = None,
    report: Report | None = None,
) -> RunResult:
    """Play all rounds, writing each as it ends.

    Args:
        config: what to run.
        federation: data, model, initial parameters.
        backend: where the rule runs (`secure_fl.simulation.parties.open_nodes`); it stays open.
        folder: existing folder, for the files of a cell (see `secure_fl.simulation.folder`).
        secret: of the run; the nodes' keys are from the same one.
        observe: extra fields of a row (`secure_fl.simulation.run.Observe`), for figures on data
            that the federation itself must not see.
        report: called with every row and the model kept after it.
    """
    steps = RunSteps(config, federation, backend, folder, secret, observe, report)
    with closing(steps):
        for _ in steps:
            pass
        return steps.finish()


class Records:
    """Writes what a run leaves behind, row by row."""

    def __init__(self, folder: Path, observe: Observe | None, report: Report | None) -> None:
        self.folder, self.observe, self.report = folder, observe, report
        self.rows: list[Row] = []
        self.openings: list[Row] = []
        (folder / "models").mkdir(exist_ok=True)
        (folder / "openings.jsonl").touch()

    def add(self, row: Row, opened: Sequence[Row], state: State) -> Row:
        """Write a round as it left the state: its row, openings, model, and a trigger that moves.

        Returns:
            The row as written.
        """
        model, memory = state.model, state.measured_memory
        if self.observe:
            row = row | self.observe(row["round"], model, memory)
        write_atomic(model_path(self.folder, row["round"]), model_bytes(model))
        if TRIGGER_HASH in row and memory is not None:
            path = trigger_path(self.folder, row["round"])
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, pack(memory))
        append_line(self.folder / "rounds.jsonl", row)
        for opening in opened:
            append_line(self.folder / "openings.jsonl", opening)
        self.rows.append(row)
        self.openings.extend(opened)
        if self.report:
            self.report(row, model)
        return row

    def keep_refused(self, entry: int, model: torch.Tensor | None) -> None:
        """Write a model that was rolled back: what validators said of it can be measured again."""
        if model is not None:
            write_atomic(refused_path(self.folder, entry), model_bytes(model))

    def finish(self, closing: Row, model: torch.Tensor) -> None:
        """Write the final model and how it was recorded."""
        write_atomic(self.folder / "models" / "final.npy", model_bytes(model))
        write_json(self.folder / "closing.json", closing)

    def content(self) -> bytes:
        """The rounds and openings written so far, whose hash is the chain's closing entry."""
        return records_content(self.rows, self.openings)


def first_row(context: RunContext, config: RunConfig) -> Row:
    """The row of round 0: hashes of settings, data and initial model, before anybody trained."""
    federation = context.federation
    verdicts = judge(context, federation.initial, 0)
    return {
        "round": 0,
        **measured(verdicts),
        "status": "initial",
        "settings_sha256": config.sha256,
        "data_sha256": federation.data_sha256,
        "model_sha256": model_hash(federation.initial),
    }
