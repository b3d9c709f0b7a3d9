"""Robust rules of others, beside which `secure-fl bench rules` measures ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

Rule = Callable[[torch.Tensor], torch.Tensor]


def byzfl(module: str) -> ModuleType | None:
    """One of ByzFL's modules, such as "aggregators"; None where ByzFL is not installed.

    Its package imports all of its benchmark, and torchvision with it. Where that is not installed,
    the module is imported without the rest.
    """
    if "byzfl" not in sys.modules:
        spec = find_spec("byzfl")
        if spec is None:
            return None
        if find_spec("torchvision") is None:
            package = ModuleType("byzfl")
            package.__path__ = list(spec.submodule_search_locations or ())
            sys.modules["byzfl"] = package
    return import_module(f"byzfl.{module}")


def byzfl_rules(malicious: int) -> dict[str, Rule]:
    """ByzFL's rules under our names, for so many malicious rows; none where it is not installed."""
    if byzfl("aggregators") is None:
        return {}
    rules, before = (
        import_module(f"byzfl.aggregators.{name}") for name in ("aggregators", "preaggregators")
    )
    median, nnm = rules.Median(), before.NNM(malicious)
    return {
        "mean": rules.Average(),
        "median": median,
        "trimmed_mean": rules.TrMean(malicious),
        "mean_around_median": rules.Meamed(malicious),
        "krum": rules.Krum(malicious),
        "multi_krum": rules.MultiKrum(malicious),
        "geometric_median": rules.GeometricMedian(),
        "centered_clipping": rules.CenteredClipping(),
        "monna": rules.MoNNA(malicious),
        "caf": rules.CAF(malicious),
        "nnm_mean": lambda x: nnm(x).mean(dim=0),
        "nnm_median": lambda x: median(nnm(x)),
    }


def torch_rules(malicious: int) -> dict[str, Rule]:
    """What a reader would write in torch, under our names."""

    def ordered_mean(x: torch.Tensor) -> torch.Tensor:
        return x.sort(dim=0).values[malicious : len(x) - malicious].mean(dim=0)

    def nearest_mean(x: torch.Tensor) -> torch.Tensor:
        away = (x - _median(x)).abs()
        nearest = away.topk(len(x) - malicious, dim=0, largest=False).indices
        return x.gather(0, nearest).mean(dim=0)

    def scores(x: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(x, x).square().sort(dim=1).values
        return nearest[:, 1 : len(x) - malicious - 1].sum(dim=1)

    def krum(x: torch.Tensor) -> torch.Tensor:
        return x[scores(x).argmin()]

    def multi_krum(x: torch.Tensor) -> torch.Tensor:
        return x[scores(x).argsort()[: len(x) - malicious]].mean(dim=0)

    return {
        "mean": lambda x: x.mean(dim=0),
        "median": _median,
        "trimmed_mean": ordered_mean,
        "mean_around_median": nearest_mean,
        "krum": krum,
        "multi_krum": multi_krum,
    }


def _median(x: torch.Tensor) -> torch.Tensor:
    ordered = x.sort(dim=0).values
    return (ordered[(len(x) - 1) // 2] + ordered[len(x) // 2]) / 2
