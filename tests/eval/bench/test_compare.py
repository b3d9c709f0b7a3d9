"""The side-by-side comparison of the three backends."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from eval.bench.compare import SHOWN, compare, comparison_table
from secure_fl.errors import SecureFLError


@pytest.mark.slow
def test_three_backends_side_by_side() -> None:
    results = compare("median", hospitals=5, dim=SHOWN + 2, seed=1)
    assert list(results) == ["plain", "fixed", "mpc"]
    assert torch.equal(results["fixed"].update, results["mpc"].update)
    torch.testing.assert_close(
        results["plain"].update, results["fixed"].update, atol=2**-15, rtol=0
    )
    assert results["mpc"].cost.bytes_online > 0 == results["fixed"].cost.bytes_online
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(comparison_table("median", results))
    text = console.export_text()
    assert f"update[{SHOWN - 1}]" in text
    assert f"update[{SHOWN}]" not in text
    assert "bytes sent by a node" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope", 3, 3), "rule must be one of"),
        (("median", 0, 3), "hospitals must be at least 1"),
        (("median", 3, 0), "dim must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(SecureFLError, match=message):
        compare(*arguments)
