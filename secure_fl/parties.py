"""Who holds which key in a run: what the computing nodes are handed at their start.

A node's ledger key goes to its process over standard input, as the simulation's secret or as the
path of its keystore file with that file's password, and to nobody else: it is no setting and stands
in no record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ledger.keys import Signer, simulation_key
from secure_fl.backends import open_backend
from secure_fl.run_secret import RunSecret, public_members_seed
from secure_fl.schema import DefenceConfig, ExperimentConfig
from secure_fl.sessions import Backend

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


def minimum_hospitals(defence: DefenceConfig, experiment: ExperimentConfig) -> int:
    """Fewest hospitals that the nodes of a run combine."""
    if defence.minimum_hospitals is not None:
        return defence.minimum_hospitals
    return min(MINIMUM_HOSPITALS, experiment.data.hospitals)


def backend_options(
    defence: DefenceConfig, experiment: ExperimentConfig, secret: RunSecret
) -> dict[str, Any]:
    """Options of the backend on which a defence runs in an experiment.

    Defences that agree in them share a backend: nodes have keys if any of the job's sign.
    """
    if defence.backend != "mpc":
        return {}
    together = (defence, *experiment.defences)
    signing = any(signs(each) for each in together)
    rules = [each.build(experiment.extensions) for each in together]
    return {
        "nodes": defence.nodes,
        "keys": defence.keys,
        "preprocessing": defence.preprocessing,
        "insecure_preprocessing": defence.insecure_preprocessing,
        "minimum_hospitals": minimum_hospitals(defence, experiment),
        "timeout": defence.timeout,
        "signers": node_keys(experiment, defence.nodes, secret) if signing else (),
        "allow": tuple(dict.fromkeys(name for rule in rules for name in rule.own_stages)),
    }


def open_nodes(defence: DefenceConfig, experiment: ExperimentConfig, secret: RunSecret) -> Backend:
    """Open the backend on which a defence runs in an experiment."""
    return open_backend(defence.backend, **backend_options(defence, experiment, secret))
