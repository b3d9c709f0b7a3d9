"""What a run ran on: versions, machine, command; recorded beside its results."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from secure_fl.schema import ExperimentConfig

PACKAGES = (
    "secure-fl-crypten",
    "torch",
    "numpy",
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
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": config.threads,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
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
