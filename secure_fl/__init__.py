"""Federated learning under attack, aggregated under secure multi-party computation.

    import secure_fl
    result = secure_fl.aggregate(updates, defence="median", backend="mpc", nodes=2)
    result = secure_fl.run(["defence=guarded", "attack=backdoor", "rounds=10"])
    federation = secure_fl.Federation.from_arrays(hospitals, root, validators, test, "mlp")
    result = secure_fl.run(federation, attack="sign_flip", defence="median", malicious=0.3)

Names are imported on first use: the processes of the MPC cluster import this package too, and
must start without torch. Running is offered here and made in `eval`, since it measures.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.jobs.objects import run_job
    from eval.jobs.single import run, start
    from eval.jobs.sweep import Sweep, sweep
    from secure_fl.aggregation import build_rule
    from secure_fl.backends.aggregate import aggregate, open_backend
    from secure_fl.data.registry import dataset
    from secure_fl.errors import ConfigError, InputError, NodeFailure, SecureFLError
    from secure_fl.federation import Federation
    from secure_fl.models.model import model
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.run import RunConfig, RunResult
    from secure_fl.simulation.steps import RunSteps
    from secure_fl.types import AggregateResult, Cost, Opening

_HOME = {
    "AggregateResult": "secure_fl.types",
    "ConfigError": "secure_fl.errors",
    "Cost": "secure_fl.types",
    "Federation": "secure_fl.federation",
    "InputError": "secure_fl.errors",
    "NodeFailure": "secure_fl.errors",
    "Opening": "secure_fl.types",
    "RunConfig": "secure_fl.simulation.run",
    "RunResult": "secure_fl.simulation.run",
    "RunSteps": "secure_fl.simulation.steps",
    "SecureFLError": "secure_fl.errors",
    "Sweep": "eval.jobs.sweep",
    "aggregate": "secure_fl.backends.aggregate",
    "build_rule": "secure_fl.aggregation",
    "dataset": "secure_fl.data.registry",
    "load_config": "secure_fl.settings.config",
    "model": "secure_fl.models.model",
    "open_backend": "secure_fl.backends.aggregate",
    "run": "eval.jobs.single",
    "run_job": "eval.jobs.objects",
    "start": "eval.jobs.single",
    "sweep": "eval.jobs.sweep",
}

__all__ = [
    "AggregateResult",
    "ConfigError",
    "Cost",
    "Federation",
    "InputError",
    "NodeFailure",
    "Opening",
    "RunConfig",
    "RunResult",
    "RunSteps",
    "SecureFLError",
    "Sweep",
    "aggregate",
    "build_rule",
    "dataset",
    "load_config",
    "model",
    "open_backend",
    "run",
    "run_job",
    "start",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'secure_fl' has no attribute {name!r}")
