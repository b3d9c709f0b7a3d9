"""Secrets of a run: from the operating system, of one cell each, and without effect on figures."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ledger.audit.chain_file import audit
from ledger.members.members import Members
from secure_fl.data import load
from secure_fl.files import read_lines
from secure_fl.hospital.privacy import gaussian
from secure_fl.mpc.prg import Stream
from secure_fl.settings.attackers import AttackConfig
from secure_fl.simulation import parties
from secure_fl.simulation.folder import TIMINGS
from secure_fl.simulation.prepare import data_hash, prepare
from secure_fl.simulation.round import State, local_updates, scene_of
from secure_fl.simulation.run import RunConfig, make_context
from secure_fl.simulation.secret import RunSecret, public_members_seed
from secure_fl.simulation.single import run_settings as run
from tests.support import tiny_job

NOISY = "privacy.noise_sigma=0.001"
A, B = "a" * 64, "b" * 64


def test_no_two_cells_and_no_two_runs_share_a_secret() -> None:
    """Also where seed, defence, attack and share are the same: masks are never used twice."""
    secrets = [RunSecret(tiny_job.config()) for _ in range(2)]
    drawn = [key for s in secrets for pair in ((A, A), (A, B), (B, A)) for key in _cell(s, *pair)]
    assert len(set(drawn)) == len(drawn) == 18
    assert all(len(key) == 32 for key in drawn)
    assert len({s.members_seed() for s in secrets}) == 2
    assert not any(s.repeatable for s in secrets)


def test_repeatable_secrets_repeat_for_the_same_settings_and_data_alone() -> None:
    one, two = (RunSecret(tiny_job.config("repeatable_secrets=true")) for _ in range(2))
    other = RunSecret(tiny_job.config("repeatable_secrets=true", "seed=1"))
    assert _cell(one, A, A) == _cell(two, A, A)
    assert one.members_seed() == two.members_seed() != other.members_seed()
    for changed in (_cell(one, A, B), _cell(one, B, A), _cell(other, A, A)):
        assert not set(changed) & set(_cell(one, A, A))
    assert one.repeatable


def _cell(secret: RunSecret, settings: str, data: str) -> tuple[bytes, ...]:
    return astuple(secret.cell(settings, data))


def test_a_secret_is_in_no_words() -> None:
    secret = RunSecret(tiny_job.config())
    shown = repr(secret) + str(secret) + repr(secret.cell(A, A))
    assert secret._key.hex() not in shown
    assert not any(key.hex() in shown or repr(key) in shown for key in _cell(secret, A, A))


def _timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def test_figures_do_not_depend_on_the_secret_but_commitments_do(tmp_path: Path) -> None:
    settings = [*tiny_job.SETTINGS, "defence=paper", "rounds=1"]
    folders = [tmp_path / "one", tmp_path / "two"]
    results = [run(settings, folder) for folder in folders]
    rows = [_timeless(read_lines(folder / "rounds.jsonl")) for folder in folders]
    assert rows[0] == rows[1]
    assert torch.equal(results[0].model, results[1].model)
    chains = [audit(folder / "chain.jsonl") for folder in folders]
    assert all(chain.ok for chain in chains)
    commitments = [set(chain.rounds[0].commitments.values()) for chain in chains]
    assert len(commitments[0]) == len(commitments[1]) == 4
    assert not commitments[0] & commitments[1]
    assert results[0].chain_head != results[1].chain_head
    # Nor do members sign with keys that the public seed gives.
    public = Members.simulated(public_members_seed(tiny_job.config()), 4, 2, 3)
    for role, addresses in chains[0].seats.items():
        assert not set(addresses) & {signer.address for signer in public.of_role(role)}


def test_simulated_keys_on_a_development_node_are_public() -> None:
    """Its contract is made for members whose keys must be known beforehand."""
    node = ["ledger.url=http://127.0.0.1:1", "ledger.chain_id=1", "ledger.simulated_keys=true"]
    config = tiny_job.config(*node)
    assert parties.keys_seed(config, RunSecret(config)) == public_members_seed(config)


# ---- privacy noise


def _sent(*overrides: str) -> torch.Tensor:
    config = tiny_job.config("defences=[fedavg]", *overrides)
    federation, secret = prepare(config), RunSecret(config)
    cell = RunConfig(config, config.defences[0], AttackConfig())
    own = secret.cell(cell.sha256, federation.data_sha256)
    setting = make_context(cell, federation, own)
    start = State(federation.initial, torch.zeros(4, dtype=torch.bool))
    server = parties.make_server(federation, setting.defence, setting.options, config.seed)
    scene = scene_of(setting, start, 1, [0, 1, 2, 3], server, lambda: None)
    return local_updates(scene).updates


def test_noise_cannot_be_repeated_from_the_settings() -> None:
    bare, one, two = _sent(), _sent(NOISY), _sent(NOISY)
    noise = torch.stack([one - bare, two - bare])
    assert len(noise.flatten(0, 1)[:, 0].unique()) == 8  # each hospital's own, each run's own
    assert float(noise.std()) == pytest.approx(0.001, rel=0.05)
    repeated = [_sent(NOISY, "repeatable_secrets=true") for _ in range(2)]
    assert torch.equal(*repeated)
    assert not torch.equal(repeated[0], one)


def test_gaussian_numbers_have_the_moments_and_tails_of_a_normal() -> None:
    drawn = gaussian(b"k" * 16, 1_000_001)
    assert drawn.shape == (1_000_001,)
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean()) < 4e-3
    for power, moment in ((2, 1.0), (3, 0.0), (4, 3.0)):
        assert np.mean(drawn**power) == pytest.approx(moment, abs=0.04)
    for z, share in ((1, 0.31731), (2, 0.04550), (3, 0.0026998)):
        assert np.mean(np.abs(drawn) > z) == pytest.approx(share, rel=0.06)
    pairs = drawn[:1_000_000].reshape(2, -1)
    assert abs(np.corrcoef(pairs)[0, 1]) < 5e-3
    assert not np.isin(drawn[:1000], gaussian(b"l" * 16, 1000)).any()
    assert gaussian(b"k" * 16, 0).shape == (0,)


def test_gaussian_numbers_at_the_ends_of_the_uniform_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, largest in ((0, 8.572), (2**64 - 1, 0.0)):
        monkeypatch.setattr(Stream, "words", lambda _, shape, w=word: np.full(shape, w, np.uint64))
        assert np.abs(gaussian(b"k" * 16, 2)).max() == pytest.approx(largest, abs=1e-3)


# ---- the data's hash


def test_the_datas_hash_covers_values_types_and_names() -> None:
    dataset = load("support2", None)
    base = data_hash(dataset)
    assert base == data_hash(dataset) == prepare(tiny_job.config()).data_sha256
    x, y = dataset.x.copy(), dataset.y.copy()
    x[3, 1] += 1
    y[5] = 1 - y[5]
    group = dataset.group.copy()
    group[0] = group[1]
    changed = [
        replace(dataset, x=x),
        replace(dataset, y=y),
        replace(dataset, group=group),
        replace(dataset, feature_names=("other", *dataset.feature_names[1:])),
        replace(dataset, class_names=dataset.class_names[::-1]),
    ]
    assert len({base, *(data_hash(each) for each in changed)}) == 6
