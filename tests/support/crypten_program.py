"""A CrypTen program of several processes, started by `test_functions.py`: one party each.

usage: python -m tests.support.crypten_program TASK COMMUNICATOR PROVIDER
TASK is one or several, as in `examples+scales`; `serve` is CrypTen's trusted third party, with a
rank after the parties'.
with RANK, WORLD_SIZE and RENDEZVOUS in the environment, as `crypten.init()` reads them.
"""

from __future__ import annotations

import doctest
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from secure_fl.mpc.compat import import_crypten

crypten = import_crypten()

from secure_fl.mpc import functions  # noqa: E402
from secure_fl.mpc.communicator import TcpCommunicator, use_tcp  # noqa: E402
from tests.support.crypten_rules import rules  # noqa: E402
from tests.support.crypten_scales import memory, refusals, scales  # noqa: E402


def examples() -> dict[str, Any]:
    """Run the docstrings' examples; all parties must agree with what is printed there."""
    torch.set_printoptions(precision=4)
    failed, tried = doctest.testmod(functions, verbose=False)
    return {"failed": failed, "tried": tried}


def values(seed: int, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """The same inputs at every party, exact at 16 fractional bits."""
    rng = np.random.default_rng(seed)
    if kind == "ties":
        x = rng.integers(-2, 3, shape).astype(float)
    elif kind == "large":
        x = rng.integers(-(2**30), 2**30, shape) / 2**15
    else:
        x = rng.integers(-(2**17), 2**17, shape) / 2**16
    return torch.tensor(x, dtype=torch.float64)


CASES = [(2, 5, "ties"), (1, 3, "small"), (5, 70, "small"), (8, 3, "large"), (21, 4, "ties")]


def outcomes() -> dict[str, Any]:
    """Every function on random inputs; the parent compares with NumPy."""
    # A request to CrypTen's third party takes milliseconds, and so does a round of gloo.
    slow = crypten.cfg.mpc.provider == "TTP" or not isinstance(
        crypten.communicator.get(), TcpCommunicator
    )
    cases = CASES[:1] if slow else CASES
    return {str(seed): outcome(seed, *case) for seed, case in enumerate(cases)}


def outcome(seed: int, n: int, d: int, kind: str) -> dict[str, Any]:
    """Every function on one matrix (n, d)."""
    shared = crypten.cryptensor(values(seed, (n, d), kind), src=0)
    results = {
        "median": functions.median(shared),
        "median_columns": functions.median(shared, dim=1),
        "quantile": functions.quantile(shared, 0.3),
        "kth": functions.kth_value(shared, n),
        "sort": functions.sort(shared),
        "topk": functions.topk_mask(shared, (n + 1) // 2),
        "trimmed": functions.trimmed_mean(shared, 0.2),
        "planes": functions.from_bit_planes(functions.bit_planes(shared), d),
    }
    if kind != "large":
        y = values(seed + 100, (d,), "small")
        results["norm"] = functions.squared_norm(shared, dim=1)
        results["clip"] = functions.clip_norm(shared, 0.75, dim=1)
        results["cosine_public"] = functions.cosine_similarity(shared, y, dim=1)
        other = crypten.cryptensor(y, src=0)
        results["cosine"] = functions.cosine_similarity(shared, other, dim=1)
    # CrypTen's decoder is off by one for some negative numbers beyond 2^13: decode here.
    plain = {name: (result._tensor.reveal() / 2**16).tolist() for name, result in results.items()}
    return {"n": n, "d": d, "kind": kind, **plain}


def operators() -> dict[str, Any]:
    """CrypTen's own operators, to be compared between communicators."""
    x = crypten.cryptensor(values(0, (6, 4), "small"), src=0)
    y = crypten.cryptensor(
        values(1, (6, 4), "small"), src=crypten.communicator.get().get_rank() * 0
    )
    return {
        "sum": (x + y).get_plain_text().tolist(),
        "product": (x * y).get_plain_text().tolist(),
        "matmul": x.matmul(y.t()).get_plain_text().tolist(),
        "less": (x < y).get_plain_text().tolist(),
        "max": x.max(dim=0)[0].get_plain_text().tolist(),
        "relu": x.relu().get_plain_text().tolist(),
        "communicator": type(crypten.communicator.get()).__name__,
    }


def main() -> int:
    """Run one task and print its result as one line of JSON."""
    task, communicator, provider = sys.argv[1:]
    crypten.cfg.mpc.provider = provider
    crypten.init()
    if task == "serve":
        crypten.mpc.provider.TTPServer()
        return 0
    if communicator == "tcp":
        use_tcp()
    tasks: dict[str, Callable[[], Any]] = {
        "examples": examples,
        "outcomes": outcomes,
        "operators": operators,
        "rules": rules,
        "scales": scales,
        "memory": memory,
        "refusals": refusals,
    }
    print(json.dumps({name: tasks[name]() for name in task.split("+")}))
    crypten.uninit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
