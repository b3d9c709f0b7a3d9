"""Runs: repeatable to the last bit, equal under MPC, every attack against every defence."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attacks
import secure_fl
from secure_fl.errors import ConfigError, InputError
from secure_fl.federation import Federation
from secure_fl.files import read_json, read_lines
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import presets
from secure_fl.settings.schema import malicious_count
from secure_fl.simulation.attackers import seat_order
from secure_fl.simulation.folder import TIMINGS, model_path, read_model, records_digest
from secure_fl.simulation.parties import open_nodes
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.run import RunConfig, RunResult
from secure_fl.simulation.secret import RunSecret
from secure_fl.simulation.single import run_settings as run
from secure_fl.simulation.steps import run_rounds
from tests.support import tiny_job

TINY = [*tiny_job.SETTINGS, "rounds=2"]


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(tiny_job.config())


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def run_cell(
    federation: Federation,
    folder: Path,
    attack: str,
    defence: str,
    *overrides: str,
    backend: str | None = None,
) -> RunResult:
    config = tiny_job.config(f"defence={defence}", *overrides)
    chosen = config.defences[0]
    if backend is not None:
        chosen = replace(chosen, backend=backend)
    fraction = 0.0 if attack == "none" else 0.25
    cell = RunConfig(config, chosen, AttackConfig(attack), fraction)
    folder.mkdir()
    secret = RunSecret(config)
    with open_nodes(chosen, config, secret) as opened:
        return run_rounds(cell, federation, opened, folder, secret)


MEETINGS = {
    *((attack, "robust") for attack in attacks.names()),
    *((attack, "guarded") for attack in ("backdoor", "full_information_backdoor")),
    *((attack, defence) for attack in ("none", "sign_flip") for defence in presets("defence")),
}


@pytest.mark.parametrize(("attack", "defence"), sorted(MEETINGS))
def test_every_attack_meets_every_defence(
    attack: str, defence: str, federation: Federation, tmp_path: Path
) -> None:
    result = run_cell(federation, tmp_path / "cell", attack, defence, "rounds=1")
    row = result.rows[1]
    assert result.model.isfinite().all()
    assert row["round"] == 1
    assert len(row["accepted"]) == 4
    assert set(row["refused"]) <= {str(seat) for seat in result.malicious}
    assert (result.chain_head is None) == (defence not in ("paper", "guarded", "distilled"))
    assert len(result.malicious) == (attack != "none")


def test_the_folder_holds_what_the_run_returns(federation: Federation, tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    result = run_cell(federation, folder, "backdoor", "paper")
    assert read_lines(folder / "rounds.jsonl") == result.rows
    assert read_lines(folder / "openings.jsonl") == result.openings
    assert read_json(folder / "closing.json") == result.closing
    assert torch.equal(read_model(folder / "models" / "final.npy"), result.model)
    assert torch.equal(read_model(model_path(folder, 0)), federation.initial)
    assert [row["round"] for row in result.rows] == [0, 1, 2]
    assert result.closing["records_sha256"] == records_digest(result.rows, result.openings)
    head = json.loads((folder / "chain.jsonl").read_text().splitlines()[-1])["hash"]
    assert head == f"0x{result.chain_head}"
    assert [p.name for p in sorted(folder.rglob("*.partial"))] == []


def test_with_repeatable_secrets_two_runs_are_equal_to_the_last_bit() -> None:
    overrides = [*TINY, "defence=paper", "defence.backend=fixed", "repeatable_secrets=true"]
    one, two = run(overrides), run(overrides)
    assert torch.equal(one.model, two.model)
    assert timeless(one.rows) == timeless(two.rows)
    assert one.openings == two.openings
    assert one.chain_head == two.chain_head is not None
    other = run([*overrides, "seed=1"])
    assert other.chain_head != one.chain_head
    assert not torch.equal(other.model, one.model)


def test_reputation_moves_with_verdicts_and_weighs(federation: Federation, tmp_path: Path) -> None:
    result = run_cell(federation, tmp_path / "cell", "sign_flip", "paper", "rounds=4")
    (bad,) = result.malicious
    verdicts = [row["accepted"][bad] for row in result.rows[1:]]
    assert False in verdicts
    last = result.rows[-1]["reputation"]
    assert last[bad] == min(last) < 1


@pytest.mark.slow
@pytest.mark.parametrize("defence", ["paper", "guarded", "secure_aggregation"])
def test_mpc_equals_fixed_to_the_last_bit(
    defence: str, federation: Federation, tmp_path: Path
) -> None:
    """Two rounds between real node processes, against the same arithmetic in the clear."""
    clear, shared = (
        run_cell(federation, tmp_path / name, "sign_flip", defence, backend=name)
        for name in ("fixed", "mpc")
    )
    assert torch.equal(clear.model, shared.model)
    costs = {"mpc", "result_sha256", "settings_sha256"}
    for one, two in zip(timeless(clear.rows), timeless(shared.rows), strict=True):
        assert {k: v for k, v in one.items() if k not in costs} == {
            k: v for k, v in two.items() if k not in costs
        }
    assert clear.openings == shared.openings
    assert shared.rows[1]["mpc"]["rounds"] > 0


def test_run_refuses_an_existing_folder_and_touches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder must be one that does not exist yet"):
        run(TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_run_keeps_its_folder_and_observes(tmp_path: Path) -> None:
    seen = []

    def observe(number: int, model: torch.Tensor) -> dict[str, Any]:
        seen.append(number)
        return {"length": float(model.norm())}

    result = secure_fl.run([*TINY, "defence=fedavg"], tmp_path / "new", observe=observe)
    assert seen == [0, 1, 2]
    assert all(row["length"] > 0 for row in read_lines(tmp_path / "new" / "rounds.jsonl"))
    assert result.malicious != ()


def test_parameters_that_do_not_fit_the_data_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"columns must be within the \d+ columns"):
        run([*TINY, "attack=backdoor", "attack.params.columns=[999]"])
    with pytest.raises(ConfigError, match="target_class must be from 0 to 1, the classes of the"):
        run([*TINY, "attack=backdoor", "attack.params.target_class=7"])
    with pytest.raises(ConfigError, match="source_class must be from 0 to 1"):
        run([*TINY, "attack=label_flip", "attack.params.source_class=5"])
    with pytest.raises(ConfigError, match="model 'cnn' with params"):
        run([*TINY, "model.name=cnn", "model.params={}"])
    with pytest.raises(ConfigError, match="one of hidden; got 'hiden'"):
        run([*TINY, "model.params.hiden=[3]"])


def test_too_many_hospitals_for_the_data_are_refused() -> None:
    with pytest.raises(InputError, match="100 hospitals must have at least 32 rows each"):
        run([*TINY, "data.hospitals=100"])


@given(seed=st.integers(0, 2**62), hospitals=st.integers(2, 60))
def test_a_larger_share_holds_the_smaller(seed: int, hospitals: int) -> None:
    order = seat_order(seed, hospitals, "fixed")
    chosen = [set(order[: malicious_count(f, hospitals)]) for f in (0, 0.1, 0.3, 0.5)]
    for smaller, larger in pairwise(chosen):
        assert smaller <= larger
    assert all(members <= set(range(hospitals)) for members in chosen)
    assert len(chosen[3]) == hospitals // 2


def test_the_settings_hash_covers_what_matters_and_nothing_else() -> None:
    def digest(*overrides: str) -> str:
        config = tiny_job.config(*overrides)
        return RunConfig(config, config.defences[0], config.attacks[0], 0.25).sha256

    base = digest()
    assert digest("data.path=/elsewhere", "name=other", "malicious=[0.25, 0.5]") == base
    for change in (
        "seed=1",
        "train.lr=0.002",
        "rounds=3",
        "data.alpha=0.31",
        "attack.params.fraction=0.2",
        "defence.nodes=3",
        "ledger.growth=0.2",
        "model.params.hidden=[5]",
    ):
        assert digest(change) != base, change
