"""The median by a comparator network in SPU, SEMI2K between two parties: for `bench mpc --peers`.

usage: SPU_PYTHON spu_peer.py HOSPITALS DIM

Runs under an interpreter that has the `spu` package (not a dependency of this project; tried with
0.9.5), with two threads in one process for the two parties. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def network(n: int) -> list[list[tuple[int, int]]]:
    """Return the layers of Batcher's odd-even merge sort for n wires: disjoint pairs each."""
    layers = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            layer = [
                (i + j, i + j + k)
                for j in range(k % p, n - k, 2 * k)
                for i in range(min(k, n - j - k))
                if (i + j) // (2 * p) == (i + j + k) // (2 * p)
            ]
            layers.append(layer)
            k //= 2
        p *= 2
    return layers


def main() -> int:
    """Run the median once and print what it took."""
    import jax.numpy as jnp
    import numpy as np
    import spu
    from spu.utils import simulation

    hospitals, dim = int(sys.argv[1]), int(sys.argv[2])

    def median(x: Any) -> Any:
        # Rows by themselves: indexing an array with a layer's pairs takes 1.7 times as long.
        x = list(x)
        for layer in filter(None, network(hospitals)):
            low = jnp.stack([x[i] for i, _ in layer])
            high = jnp.stack([x[j] for _, j in layer])
            smaller, larger = jnp.minimum(low, high), jnp.maximum(low, high)
            for k, (i, j) in enumerate(layer):
                x[i], x[j] = smaller[k], larger[k]
        return (x[(hospitals - 1) // 2] + x[hospitals // 2]) / 2

    simulator = simulation.Simulator.simple(2, spu.ProtocolKind.SEMI2K, spu.FieldType.FM64)
    seconds = []

    def timed(*arguments: Any) -> Any:
        """Run what was compiled; compiling takes longer and is not counted."""
        start = time.perf_counter()
        outputs = simulator(*arguments)
        seconds.append(time.perf_counter() - start)
        return outputs

    x = np.random.default_rng(0).normal(size=(hospitals, dim)).astype(np.float32)
    result = simulation.sim_jax(timed, median)(x)
    error = float(np.abs(np.median(x, axis=0) - np.asarray(result)).max())
    print(json.dumps({"seconds": seconds[0], "error": error}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
