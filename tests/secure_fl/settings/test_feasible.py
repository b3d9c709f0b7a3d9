"""What cannot work is refused before a folder exists: noise out of range, too many parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from eval.jobs import starting
from secure_fl.aggregation import Stage, rule_names, stage
from secure_fl.errors import ConfigError
from secure_fl.extensions import load_extensions
from secure_fl.hospital.training import clip
from secure_fl.models import build
from secure_fl.settings.config import load_defence, presets
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.feasible import (
    TOLERATED_REFUSALS,
    check_defence,
    largest_noise,
    refusal_chance,
)
from secure_fl.settings.schema import PrivacyConfig
from secure_fl.simulation.single import run_settings as run
from tests.support import tiny_job

CNN = build("cnn", (1, 32, 32), 2, {}).num_parameters
QUIET = PrivacyConfig()


@pytest.mark.parametrize(("sigma", "dim"), [(0.5, 40), (1.0, 3), (0.7, 1000)])
def test_the_chance_is_that_of_a_simulation(sigma: float, dim: int) -> None:
    noise = sigma * torch.randn(4000, dim, generator=torch.Generator().manual_seed(0))
    share = float((noise.abs() >= 2).any(dim=1).double().mean())
    assert refusal_chance(2.0, sigma, dim) == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("dim", [1, 5922, CNN, 10**7])
def test_the_largest_noise_is_where_the_chance_is_the_tolerated_one(dim: int) -> None:
    sigma = largest_noise(2.0, dim)
    assert refusal_chance(2.0, sigma, dim) == pytest.approx(TOLERATED_REFUSALS, rel=1e-6)
    assert refusal_chance(2.0, 0.0, dim) == 0
    assert refusal_chance(2.0, 1e300, dim) == 1


@pytest.mark.parametrize("name", presets("defence"))
def test_noise_beyond_the_rules_range_is_refused(name: str) -> None:
    defence = load_defence(name)
    limit = defence.build().limit
    check_defence(defence, PrivacyConfig(noise_sigma=largest_noise(limit, 50) * 0.99), 5, 50)
    loud = PrivacyConfig(noise_sigma=largest_noise(limit, 50) * 1.01)
    with pytest.raises(ConfigError, match=rf"noise_sigma must be at most .*{name!r}.*max_abs"):
        check_defence(defence, loud, 5, 50)


@pytest.mark.parametrize("backend", ["plain", "fixed", "mpc"])
@pytest.mark.parametrize("name", rule_names())
def test_every_rule_takes_the_cnn_by_default(name: str, backend: str) -> None:
    assert CNN > 32_768
    defence = DefenceConfig(name=name, rule=name, backend=backend, reference=True)
    check_defence(defence, QUIET, 5, CNN)


def test_what_a_rule_cannot_take_is_refused_with_what_to_change() -> None:
    wide = DefenceConfig(name="w", rule="cosine_root", params={"max_abs": 128.0}, reference=True)
    check_defence(wide, QUIET, 3, CNN)  # floating point has no such limit
    wide.backend = "mpc"
    said = "stage cosine_screen: d must be .*lower max_abs"
    message = rf"'w' cannot work with 3 hospitals and {CNN:,} parameters: {said}"
    with pytest.raises(ConfigError, match=message):
        check_defence(wide, QUIET, 3, CNN)
    blind = DefenceConfig(name="b", rule="cosine_root")
    with pytest.raises(ConfigError, match=r"'b' cannot work .* needs a reference"):
        check_defence(blind, QUIET, 3, 5)


@stage
def mistaken() -> Stage:
    """Asks for what is not there."""

    def apply(context: Any, state: Any) -> Any:
        return context.absent, state  # told by a message

    return Stage(apply)


def test_a_mistake_of_ones_own_stage_is_told_with_its_line_and_words() -> None:
    name = f"{__name__}:mistaken"
    wrong = DefenceConfig(name="wrong", rule={"max_abs": 2.0, "stages": [name]})
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (line,) = (i for i, text in enumerate(lines, 1) if text.endswith("# told by a message"))
    said = rf"{name} failed with AttributeError \(test_feasible\.py, line {line}: .*'absent'\)"
    with pytest.raises(ConfigError, match=said):
        check_defence(wrong, QUIET, 5, 4, load_extensions([name]))


def test_a_rule_that_combines_fewer_than_the_minimum_is_refused() -> None:
    lonely = DefenceConfig(
        name="lonely", rule={"max_abs": 2.0, "stages": ["tests.support.surrounded:out_of"]}
    )
    known = load_extensions(["tests.support.surrounded:out_of"])
    check_defence(lonely, QUIET, 5, 4, known)
    said = "'lonely' combines fewer than the minimum of 3 hospitals: lower its minimum_hospitals"
    with pytest.raises(ConfigError, match=said):
        check_defence(lonely, QUIET, 5, 4, known, minimum=3)
    with pytest.raises(
        ConfigError, match=r"'lonely' cannot work with 2 hospitals .*needs at least"
    ):
        check_defence(lonely, QUIET, 2, 4, known)


@pytest.mark.parametrize(
    "overrides",
    [
        ["privacy.noise_sigma=1", "defences=[paper]"],
        ["defences=[cosine_root]", "defence.params.max_abs=16384", "model.params.hidden=[64]"],
        ["defences=[cosine_root]", "defence.reference=false"],
    ],
)
def test_a_job_that_cannot_work_leaves_no_folder(overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"noise_sigma must|cannot work with"):
        starting.start_job(tiny_job.config(*overrides), tmp_path / "run", [])
    with pytest.raises(ConfigError, match=r"noise_sigma must|cannot work with"):
        run([*tiny_job.SETTINGS, *overrides], tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", ["fedavg", "paper"])
def test_an_attack_is_tried_with_every_defence(first: str, tmp_path: Path) -> None:
    """Whichever comes last: one that breaks the nodes' protocol needs nodes that sign."""
    both = sorted(["fedavg", "paper"], key=lambda name: name != first)
    config = tiny_job.config("attacks=[withheld_shares]", f"defences=[{','.join(both)}]")
    for defence in config.defences:
        defence.backend = "mpc" if defence.name == "paper" else "plain"
    with pytest.raises(ConfigError, match=r"breaks the protocol .* fedavg has backend: plain"):
        starting.start_job(config, tmp_path / "run", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scale", [1e10, 1e25, 5e37])
def test_vast_updates_are_clipped_and_do_not_vanish(scale: float) -> None:
    updates = scale * torch.tensor([[3.0, -4.0] * 50, [0.0, 1e-3] * 50])
    norms = clip(updates, 2.0).double().norm(dim=1)
    torch.testing.assert_close(norms, torch.full((2,), 2.0, dtype=torch.float64))
    assert clip(torch.tensor([[float("inf"), 1.0]]), 2.0).isnan().any()
