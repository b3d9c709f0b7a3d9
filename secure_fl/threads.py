"""What torch computes with here, whatever the program around has set: threads, and the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, and as many as before afterwards; on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with on_cpu():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Make new tensors on the CPU inside, where the program has set another default device."""
    before = torch.get_default_device()
    if before.type == "cpu":
        yield
        return
    torch.set_default_device(None)
    try:
        yield
    finally:
        torch.set_default_device(before)
