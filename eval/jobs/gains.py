"""The federated gain that each model of a run or sweep keeps, beside its own root-only and clean
FedAvg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.gain import KEYS, LEAST_GAIN, gain_retained, resample, resampled_auc
from eval.results.style import NO_ATTACK, ROOT_ONLY
from secure_fl.federation import Federation
from secure_fl.simulation.folder import read_model

Row = Mapping[str, Any]

# What `DefenceConfig.paper_method` of the method says that federations are measured by.
FEDAVG = "FedAvg"
RESAMPLES = 1000


def references(rows: Sequence[Row]) -> tuple[str, str] | None:
    """Names of the cells of root only and of clean FedAvg; None where a run lacks one."""
    clean = [row for row in rows if row["attack"] == NO_ATTACK]
    root = [str(row["cell"]) for row in clean if row["defence"] == ROOT_ONLY]
    fedavg = [str(row["cell"]) for row in clean if row.get("paper_method") == FEDAVG]
    return (root[0], fedavg[0]) if root and fedavg else None


def gains(rows: Sequence[Row], folder: Path, federation: Federation) -> dict[str, dict[str, Any]]:
    """What the summary's rows say of the gain retained, by the name of the cell.

    Every model is measured on the same resamples of the test cases, always the same ones.

    Args:
        rows: of the cells that are done.
        folder: of the run, whose cells hold the models.
        federation: data and model.

    Returns:
        Nothing where the run has no root-only cell or no clean FedAvg.
    """
    beside = references(rows)
    if beside is None:
        return {}
    test = federation.data.test
    counts = resample(test.y, RESAMPLES, np.random.default_rng(0))
    measured = {}
    for row in rows:
        cell = str(row["cell"])
        model = read_model(folder / "cells" / cell / "models" / "final.npy")
        measured[cell] = resampled_auc(test.y, federation.logits(model, test.x), counts)
    root, clean = (measured[name] for name in beside)
    return {
        cell: dict(zip(KEYS, gain_retained(own, root, clean), strict=True))
        for cell, own in measured.items()
    }


def add_gains(rows: Sequence[Row], among: Sequence[str]) -> list[dict[str, Any]]:
    """A sweep's rows with the gain retained, as its AUCs give it; without an interval.

    Args:
        rows: of a sweep; unchanged.
        among: keys that rows share with their references, the clean rows of `root_only` and
            `fedavg`. Rows without both, or whose FedAvg gains too little, stay as they are.
    """
    clean = {
        (row["defence"], *(row.get(key) for key in among)): row["auc"]
        for row in rows
        if row["attack"] == NO_ATTACK and "auc" in row
    }
    told = [dict(row) for row in rows]
    for row in told:
        place = tuple(row.get(key) for key in among)
        root, fedavg = clean.get((ROOT_ONLY, *place)), clean.get(("fedavg", *place))
        if root is None or fedavg is None or "auc" not in row or fedavg - root < LEAST_GAIN:
            continue
        row[KEYS[0]] = (row["auc"] - root) / (fedavg - root)
    return told
