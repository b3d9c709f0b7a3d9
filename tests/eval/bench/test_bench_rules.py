"""`secure-fl bench rules`: every rule is measured, beside others that compute the same."""

from __future__ import annotations

import json

import pytest
import torch

import secure_fl
from eval.bench import rule_peers, rules
from eval.cli.main import main
from secure_fl.aggregation import build_rule, rule_names


def test_every_rule_that_ships_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rules", "--dim", "64", "--repeat", "1", "--json"]) == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert [row["rule"] for row in rows] == [name for name in rule_names() if name != "mda"]
    assert "mda is left out: " in told.err  # of 20 hospitals too many subsets
    assert all(row["ours_ms"] > 0 for row in rows)
    by_rule = {row["rule"]: row for row in rows}
    assert by_rule["trimmed_mean"]["torch_ms"] > 0
    assert by_rule["trimmed_mean"]["parameters"] == {"beta": 0.2}


def test_the_table_names_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rules", "--rule", "median", "--dim", "8", "--repeat", "1"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].split()[:3] == ["median", "20", "8"]
    assert "Milliseconds" in text


@pytest.mark.parametrize("peers", [rule_peers.torch_rules, rule_peers.byzfl_rules])
def test_the_others_compute_what_ours_does(peers) -> None:
    """Of those that ship with us under the same name; on random updates without ties."""
    x = torch.randn((20, 50), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    others = peers(4)
    for name in sorted({"mean", "median", "trimmed_mean", "mean_around_median"} & others.keys()):
        made = build_rule(name, **rules.parameters(name, 20, 4))
        ours = secure_fl.aggregate(x, made, "plain").update
        torch.testing.assert_close(others[name](x).double(), ours, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--hospitals", "0"], "--hospitals must be from 1 to 500; got 0"),
        (["--malicious", "10"], "--malicious must be fewer than half of the hospitals; got 10"),
        (["--dim", "0"], "--dim must be from 1 to 10^8"),
        (["--rule", "medain"], "did you mean median?"),
    ],
)
def test_refusals(arguments, match, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rules", *arguments]) == 2
    assert match in capsys.readouterr().err
