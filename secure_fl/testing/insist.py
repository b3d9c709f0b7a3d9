"""How a check says that a rule was broken."""

from __future__ import annotations

import torch


def insist(holds: bool | torch.Tensor, broken: str) -> None:
    """Raise `AssertionError` unless it holds, also where Python was told to leave `assert` out."""
    if not holds:
        raise AssertionError(broken)
