"""Who holds which key in a run: what the computing nodes are handed at their start.

A node's ledger key goes to its process over standard input, as the simulation's secret or as the
path of its keystore file with that file's password, and to nobody else: it is no setting and stands
in no record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ledger.members.keys import Signer, simulation_key
from ledger.protocol.roles import ValidatorKey
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.data import Split
from secure_fl.errors import ConfigError
from secure_fl.faults import HOSPITAL_KINDS, NODE_KINDS, Fault
from secure_fl.federation import Federation
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.nodes.contract import Contract
from secure_fl.server.server import AddingServer, GuardedServer, Server
from secure_fl.server.validation import Validator
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.attacked_validators import Liar, LyingValidator
from secure_fl.simulation.cheating_hospital import CheatingHospital
from secure_fl.simulation.secret import CellSecrets, RunSecret, public_members_seed

# Fewest hospitals that nodes of a run combine, where there are as many.
MINIMUM_HOSPITALS = 3


def keys_seed(experiment: ExperimentConfig, secret: RunSecret) -> int:
    """Seed of the members' simulation keys: secret, but on a development node public."""
    if experiment.ledger.url is not None:
        return public_members_seed(experiment)
    return secret.members_seed()


def signs(defence: DefenceConfig) -> bool:
    """Whether the nodes of a defence are processes that sign for a ledger."""
    return defence.ledger and defence.backend == "mpc"


def node_keys(experiment: ExperimentConfig, nodes: int, secret: RunSecret) -> list[Signer | Path]:
    """Keys of the nodes in order of rank: keystore files, or simulation keys."""
    keystore = experiment.ledger.keystore
    if keystore is not None:
        return [Path(keystore) / f"node-{rank}.json" for rank in range(nodes)]
    seed = keys_seed(experiment, secret)
    return [simulation_key(seed, "node", rank) for rank in range(nodes)]


def make_hospitals(
    rows: Sequence[Split],
    secrets: CellSecrets | None = None,
    contract: Contract | None = None,
    signers: Sequence[Signer] = (),
    faults: Sequence[Fault] = (),
    cheats: Collection[int] = (),
) -> tuple[Hospital, ...]:
    """The hospitals of one cell, in order of seat.

    Args:
        rows: that each trains on.
        secrets: of the cell, from which all of them draw; None: from the operating system.
        contract: that they sign for; None without a ledger.
        signers: their ledger keys, with a contract.
        faults: how they cheat over their shares, with a contract.
        cheats: seats of those that an attack tells in each round what to share.
    """
    sharing, noise = (
        HospitalSecrets(key)
        for key in ((None, None) if secrets is None else (secrets.sharing, secrets.noise))
    )
    keys: Sequence[Signer | None] = [None] * len(rows) if contract is None else signers
    made = []
    for number, (own, signer) in enumerate(zip(rows, keys, strict=True)):
        planned = {
            (fault.round, fault.node): fault.kind
            for fault in faults
            if fault.hospital == number and fault.kind in HOSPITAL_KINDS
        }
        cheating = planned or number in cheats
        make = partial(CheatingHospital, faults=planned) if cheating else Hospital
        made.append(make(number, sharing, noise, signer, contract, own))
    return tuple(made)


def make_validators(
    rows: Sequence[Split],
    contract: Contract | None = None,
    signers: Sequence[Signer] = (),
    lying: Sequence[Liar | None] = (),
) -> tuple[Validator, ...]:
    """The validators of one cell, in order of seat.

    Args:
        rows: that each tests on.
        contract: that they sign for; None without a ledger.
        signers: their ledger keys, with a contract.
        lying: for which attack each lies and when, if it does.
    """
    keys: list[ValidatorKey | None] = [None] * len(rows)
    if contract is not None:
        keys = [ValidatorKey(*each, contract.messages) for each in enumerate(signers)]
    attacked: Sequence[Liar | None] = lying or [None] * len(rows)
    return tuple(
        Validator(own, key) if liar is None else LyingValidator(own, key, liar, seat)
        for seat, (own, key, liar) in enumerate(zip(rows, keys, attacked, strict=True))
    )


def minimum_hospitals(
    defence: DefenceConfig, experiment: ExperimentConfig, malicious: int = 0
) -> int:
    """Fewest hospitals that are combined in a run, of `malicious` malicious hospitals.

    Two more than may collude, so that two others remain: of a mean colluders learn no more than
    the sum of these, of a median or a trimmed mean it may be one's value, coordinate by coordinate.
    Colluders count as being among those combined: a suspended hospital need not be one of them.
    """
    colluders = malicious if defence.colluders is None else defence.colluders
    asked = MINIMUM_HOSPITALS if defence.minimum_hospitals is None else defence.minimum_hospitals
    least = asked if colluders == 0 else max(asked, colluders + 2)
    return min(least, experiment.data.hospitals)


def backend_options(
    defence: DefenceConfig,
    experiment: ExperimentConfig,
    secret: RunSecret,
    malicious: int = 0,
    corrupt: Sequence[Fault] = (),
) -> dict[str, Any]:
    """Options of the backend on which a defence runs, with so many malicious hospitals.

    `corrupt` is what an attack has nodes do, beside the faults of the settings.

    Defences that agree in them share a backend. Nodes have keys where the defence signs: with one
    they would open no session without a contract.
    """
    least = minimum_hospitals(defence, experiment, malicious)
    if defence.backend != "mpc":
        return {"minimum_hospitals": least}
    signing = signs(defence)
    planned = [fault for fault in experiment.faults if fault.kind in NODE_KINDS]
    rules = [each.build(experiment.extensions) for each in (defence, *experiment.defences)]
    return {
        "nodes": defence.nodes,
        "keys": defence.keys,
        "preprocessing": defence.preprocessing,
        "insecure_preprocessing": defence.insecure_preprocessing,
        "minimum_hospitals": least,
        "timeout": defence.timeout,
        "network": defence.network_model(),
        "transcript": defence.transcript,
        "state": defence.state,
        "signers": node_keys(experiment, defence.nodes, secret) if signing else (),
        "allow": tuple(dict.fromkeys(name for rule in rules for name in rule.own_stages)),
        "faults": (*planned, *corrupt) if signing else (),
    }


def open_nodes(
    defence: DefenceConfig,
    experiment: ExperimentConfig,
    secret: RunSecret,
    malicious: int = 0,
    corrupt: Sequence[Fault] = (),
) -> Backend:
    """Open the backend on which a defence runs; see `backend_options`."""
    options = backend_options(defence, experiment, secret, malicious, corrupt)
    if options.get("transcript") is not None:
        options["transcript"] = _new_folder(Path(options["transcript"]))
    if options.get("state") is not None:
        options["state"] = _folder("defence.state", Path(options["state"]))
    faults = options.pop("faults", ())
    if faults:
        from secure_fl.simulation.cheating_backend import CheatingBackend  # needs CrypTen

        return CheatingBackend(faults, **options)
    return open_backend(defence.backend, **options)


def _new_folder(place: Path) -> Path:
    """A new folder in another, for one start of nodes; for its owner alone.

    Raises:
        ConfigError: it cannot be made.
    """
    with _naming("defence.transcript", place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="nodes-", dir=place))


def _folder(key: str, place: Path) -> Path:
    """A folder, made for its owner alone if it is not there.

    Raises:
        ConfigError: it cannot be made.
    """
    with _naming(key, place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


@contextmanager
def _naming(key: str, place: Path) -> Iterator[None]:
    """Name the setting of a folder that cannot be used."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{key} {place}: {error.strerror}") from error


def make_server(
    federation: Federation, defence: DefenceConfig, options: TrainOptions, seed: int
) -> Server:
    """Return the server that a defence's `validation` asks for."""
    if defence.validation == "gate":
        return GuardedServer(federation, options, seed, defence.guard_options())
    return AddingServer(federation, options, seed, defence.reference)
