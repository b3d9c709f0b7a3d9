"""Federated learning under attack, aggregated under secure multi-party computation.

    import secure_fl
    result = secure_fl.aggregate(updates, defence="median", backend="mpc", nodes=2)
    result = secure_fl.run(["defence=guarded", "attack=backdoor", "rounds=10"])

Names are imported on first use: the processes of the MPC cluster import this package too, and
must start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secure_fl.aggregation import build_rule
    from secure_fl.backends.aggregate import aggregate, open_backend
    from secure_fl.errors import ConfigError, InputError, NodeFailure, SecureFLError
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.run import RunConfig, RunResult, run
    from secure_fl.types import AggregateResult, Cost, Opening

_HOME = {
    "AggregateResult": "types",
    "ConfigError": "errors",
    "Cost": "types",
    "InputError": "errors",
    "NodeFailure": "errors",
    "Opening": "types",
    "RunConfig": "simulation.run",
    "RunResult": "simulation.run",
    "SecureFLError": "errors",
    "aggregate": "backends.aggregate",
    "build_rule": "aggregation",
    "load_config": "settings.config",
    "open_backend": "backends.aggregate",
    "run": "simulation.run",
}

__all__ = [
    "AggregateResult",
    "ConfigError",
    "Cost",
    "InputError",
    "NodeFailure",
    "Opening",
    "RunConfig",
    "RunResult",
    "SecureFLError",
    "aggregate",
    "build_rule",
    "load_config",
    "open_backend",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"secure_fl.{_HOME[name]}"), name)
    raise AttributeError(f"module 'secure_fl' has no attribute {name!r}")
