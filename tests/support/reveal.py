"""Opening a secret outside of a rule, in steps as fine as its own."""

from __future__ import annotations

import torch

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import Ops, Secret


def reveal(secret: Secret, name: str = "value") -> torch.Tensor:
    """Declare a secret of any shape, and open it."""
    ops: Ops = secret.ops
    finest = None if secret.is_bit else 2.0**-80
    ops.exits.values.pop(name, None)
    ops.exits.allow((Opens(name, (), finest),), 1, 1)
    ops.exits._due[0] = ops.exits._due[0]._replace(shape=secret.shape)
    return ops.open(name, secret)
