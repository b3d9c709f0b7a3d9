"""What a run ran on: versions, machine, command; recorded beside its results."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from secure_fl.federation import Federation, class_counts
from secure_fl.settings.schema import ExperimentConfig

# In the record of how a run began: how many rows of each class every party holds.
PARTIES = "parties"

# Packages whose versions decide on the bytes of a figure or a page.
DRAWING = ("secure-fl-crypten", "matplotlib", "pillow", "numpy", "jinja2", "pyyaml")
PACKAGES = (
    *DRAWING,
    "torch",
    "crypten",
    "hydra-core",
    "web3",
    "py-evm",
    "coincurve",
    "scikit-learn",
)


def environment(config: ExperimentConfig, command: str) -> dict[str, Any]:
    """Describe this process and machine; nothing in it depends on the results."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seeds": {"root": config.seed},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": config.threads,
        "packages": {name: version(name) for name in PACKAGES},
    }


def parties(federation: Federation) -> dict[str, Any]:
    """Names of the classes, and rows of each that every party holds, before any was repeated.

    Of data whose rows have several labels, also the rows themselves, which those do not add up to.
    """
    data = federation.data
    root, holdout, test = class_counts([data.root, data.holdout, data.test], data.classes)
    return {
        "classes": list(data.class_names),
        "hospitals": [list(counts) for counts in federation.class_counts],
        "root": list(root),
        "holdout": list(holdout),
        "test": list(test),
        **({"rows": list(federation.rows)} if data.multilabel else {}),
    }


def version(package: str) -> str | None:
    """Version of an installed distribution; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Model name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
