"""py-evm, imported so that the process stays as it was. Comes before every import of `eth`.

When it is imported py-evm raises Python's recursion limit for contracts that call each other a
thousand deep; this package's contract calls none, and with that limit a deep structure anywhere in
the program ends it without an error. Which hash function is used stands in an environment variable
that is read at the first hash: the one here is nine times faster than the default.
"""

import os
import sys

_VARIABLE = "ETH_HASH_BACKEND"
_limit, _given = sys.getrecursionlimit(), os.environ.get(_VARIABLE)
os.environ.setdefault(_VARIABLE, "pysha3")
try:
    import eth  # noqa: F401 - for what it does to the process
    from eth_hash.auto import keccak

    keccak(b"")
finally:
    sys.setrecursionlimit(_limit)
    if _given is None:
        del os.environ[_VARIABLE]
