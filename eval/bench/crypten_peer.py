"""The median by CrypTen's own operators, as one of two parties: for `secure-fl bench mpc --peers`.

usage: python -m eval.bench.crypten_peer HOSPITALS DIM gloo|tcp REPEAT
with RANK, WORLD_SIZE and RENDEZVOUS in the environment, as `crypten.init()` reads them.

Ranks by comparing all pairs in one call and picks the middle by comparing ranks with public
constants: the best that the operators that CrypTen has can be put together to.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from typing import Any

import torch

from secure_fl.mpc.communicator import use_tcp
from secure_fl.mpc.compat import import_crypten

crypten = import_crypten()


def rank_median(x: Any, hospitals: int) -> Any:
    """Return the median of n shared rows (n, d); distinct values, n even or odd."""
    first, second = torch.triu_indices(hospitals, hospitals, 1)
    later = x[first] > x[second]  # (pairs, d)
    signs = torch.zeros(hospitals, len(first), dtype=torch.long)
    signs[first, torch.arange(len(first))] = 1
    signs[second, torch.arange(len(first))] = -1
    # later counts for the first of a pair; for the second its complement does.
    below = (second.unsqueeze(0) == torch.arange(hospitals).unsqueeze(1)).sum(dim=1)
    rows = [
        sum((later[k] * int(sign) for k, sign in enumerate(row) if sign), start=below[i].item())
        for i, row in enumerate(signs)
    ]
    ranks = crypten.stack(rows, dim=0)  # (n, d)
    low, high = (hospitals - 1) // 2, hospitals // 2
    # CrypTen's == between two parties is wrong for integers (65536 for true): use > alone.
    chosen = (ranks > low - 1) - (ranks > high)
    total = (x * chosen).sum(dim=0)
    return total if low == high else total * 0.5


def main() -> int:
    """Run the median several times and print one line of JSON."""
    hospitals, dim, communicator, repeat = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        int(sys.argv[4]),
    )
    crypten.cfg.communicator.verbose = True  # counts rounds and bytes
    crypten.init()
    if communicator == "tcp":
        use_tcp()
    rng = torch.Generator().manual_seed(0)
    plain = torch.randn(hospitals, dim, generator=rng, dtype=torch.float64)
    x = crypten.cryptensor(plain, src=0)
    seconds, error = [], 0.0
    comm = crypten.communicator.get()
    for _ in range(repeat):
        comm.reset_communication_stats()
        comm.barrier()
        start = time.perf_counter()
        result = rank_median(x, hospitals).get_plain_text()
        seconds.append(time.perf_counter() - start)
        wanted = plain.sort(dim=0).values[[(hospitals - 1) // 2, hospitals // 2]].mean(dim=0)
        error = max(error, float((result.double() - wanted).abs().max()))
    figures = {
        "seconds": statistics.median(seconds),
        "rounds": comm.comm_rounds,
        "bytes": comm.comm_bytes,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "error": error,
    }
    print(json.dumps(figures))
    crypten.uninit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
