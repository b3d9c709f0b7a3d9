"""An installed package's entry points name its attacks, rules, stages, data and models."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from eval.cli import main as cli
from eval.jobs.matrix import bare_rule
from secure_fl.errors import ConfigError, NotPermitted
from secure_fl.installed import installed, resolve
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.objects import attack_config, defence_config
from secure_fl.settings.permitted import permit

CODE = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import secure_fl
from attacks import Attack, attack
from secure_fl.aggregation import Context, Opens, Pipeline, Stage, make_stage, rule, stage
from secure_fl.data import Dataset


@attack
@dataclass(frozen=True)
class Storm(Attack):
    """Send nothing but zeros."""

    def craft(self, honest, own, view):
        return 0 * own


@stage
def calm(factor: float = 2.0) -> Stage:
    """Reject long updates.  Reveals: accepted."""

    def apply(context: Context, state: object) -> tuple[Context, object]:
        squared = context.ops.squared_norms(context.x)
        kept = squared < context.ops.median_of(squared) * factor**2
        return context.reject(context.ops.open("accepted", kept)), state

    return Stage(apply, opens=(Opens("accepted"),))


@rule
def calm_median() -> Pipeline:
    """The median of what is not long."""
    return Pipeline((calm(), make_stage("coordinate_median", {})), 8.0)


@secure_fl.dataset
def waves(path: Path | None) -> Dataset:
    """Made up."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    x = (y + rng.normal(0, 0.3, (2, 400))).T.astype(np.float32)
    return Dataset("waves", "tabular", x, y, np.arange(400), ("a", "b"), ("no", "yes"))


@secure_fl.model
def flat(feature_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A line."""
    torch.manual_seed(0)
    return nn.Linear(feature_shape[0], classes)
'''
POINTS = {
    "attacks": "storm = storm_pkg.code:Storm\nbroken = storm_pkg.broken:Storm\n"
    "alie = storm_pkg.code:Storm\ntwice = storm_pkg.code:Storm\nodd = storm_pkg.code\n",
    "rules": "calm_median = storm_pkg.code:calm_median\n",
    "stages": "calm = storm_pkg.code:calm\ncoordinate_median = storm_pkg.code:calm\n",
    "datasets": "waves = storm_pkg.code:waves\n",
    "models": "flat = storm_pkg.code:flat\n",
}
OWN = "storm_pkg.code"


def distribution(folder: Path, name: str, points: dict[str, str]) -> None:
    """What an installer leaves of a package's metadata."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [f"[secure_fl.{group}]\n{lines}" for group, lines in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    package = folder / "storm_pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "code.py").write_text(CODE)
    (package / "broken.py").write_text("import no_such_module_at_all\n")
    distribution(folder, "storm", POINTS)
    distribution(folder, "rival", {"attacks": "twice = rival_pkg:Other\n"})
    return folder


@pytest.fixture(autouse=True)
def _installed(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("storm_pkg")]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.startswith("storm_pkg")]:
        del sys.modules[name]


def imported() -> bool:
    return OWN in sys.modules


def test_listing_tells_them_and_imports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    assert "  attack storm  storm_pkg.code:Storm, of storm 1.0\n" in told
    assert "  dataset waves  storm_pkg.code:waves, of storm 1.0\n" in told
    assert re.search(r"attack alie  refused: it ships, and storm 1.0 registers another", told)
    assert "stage coordinate_median  refused: it ships" in told
    assert not imported()


def test_without_them_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(site)])
    assert not [each for each in installed("attack") if each.package == "storm 1.0"]
    assert resolve("attack", "storm", []) == "storm"
    assert cli.main(["list"]) == 0
    assert "storm" not in capsys.readouterr().out


def test_a_job_with_all_of_them_and_its_nodes() -> None:
    """Nodes, processes of their own, import the stage; records name modules."""
    settings = ["attack=storm", "defence=calm_median", "data=waves", "model=flat"]
    tiny = ["data.hospitals=4", "data.validators=3", "ledger.quorum=2", "rounds=1"]
    mpc = ["defence.backend=mpc"]
    assert cli.main(["run", *settings, *tiny, *mpc, "train.epochs=1", "--out", "job"]) == 0
    row = json.loads(Path("job/cells/calm_median--Storm/cell.json").read_text())
    assert (row["backend"], row["hospitals"]) == ("mpc", 4)
    config = read_config(Path("job/config.yaml"))
    assert config.own_names == tuple(
        f"{OWN}:{name}" for name in ("Storm", "calm_median", "waves", "flat")
    )


def test_names_stand_for_modules_wherever_a_person_writes_them() -> None:
    mixed = load_config(
        ["attack=sign_flip", "attack.mixture=[{name: storm, share: 0.5}]", "defence=fedavg"]
    )
    assert mixed.attacks[0].mixture[0].name == f"{OWN}:Storm"
    assert load_config(["attack=storm", "defence=fedavg"]).attacks[0].name == f"{OWN}:Storm"
    staged = load_config(
        ["attacks=[]", "defence=fedavg", "defence.rule={max_abs: 2, stages: [calm, trimmed_mean]}"]
    )
    assert staged.defences[0].rule["stages"] == [f"{OWN}:calm", "trimmed_mean"]
    named = load_config(["attacks=[]", "defence=fedavg", "defence.rule=calm_median"])
    assert named.defences[0].rule == f"{OWN}:calm_median"
    assert attack_config("storm")[0].name == f"{OWN}:Storm"
    assert defence_config("calm_median").rule == f"{OWN}:calm_median"
    assert bare_rule("calm_median").rule == f"{OWN}:calm_median"


def test_in_python() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [4.0, 4.0]])
    by_name = secure_fl.aggregate(x, "calm_median", "fixed")
    stages = {"max_abs": 8.0, "stages": [{"calm": {"factor": 2.0}}, {"trimmed_mean": {}}]}
    assert by_name.accepted.tolist() == [True, True, True, False]
    assert secure_fl.aggregate(x, stages, "fixed").accepted.tolist() == by_name.accepted.tolist()
    rng = np.random.default_rng(0)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.random((count, 2))
        return x, (x[:, 0] > 0.5).astype(int)

    federation = secure_fl.Federation.from_arrays(
        [rows(40) for _ in range(4)], rows(40), [rows(20), rows(20)], rows(60), model="flat"
    )
    result = secure_fl.run(federation, attack="storm", defence="calm_median", rounds=1)
    assert set(result.frame["round"]) == {0, 1}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: load_config(["attack=alie"]), "attack 'alie' ships, and storm 1.0 registers"),
        (lambda: attack_config("alie"), "attack 'alie' ships, and storm 1.0 registers"),
        (lambda: attack_config("twice"), r"registered by rival 1.0 \(rival_pkg:Other\) and storm"),
        (lambda: attack_config("odd"), "'odd' of storm 1.0 must stand for \"module:name\""),
        (
            lambda: secure_fl.build_rule({"max_abs": 2.0, "stages": ["coordinate_median"]}),
            "stage 'coordinate_median' ships, and storm 1.0 registers another",
        ),
        (lambda: load_config(["attack=broken"]), "cannot import 'storm_pkg.broken': No module"),
        (lambda: load_config(["attack=strom"]), "attack must be one of"),
    ],
)
def test_what_cannot_be_is_refused_by_name_when_it_is_asked_for(
    ask: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ask()
    assert not imported()
    assert load_config(["attack=sign_flip", "defence=fedavg"]).attacks[0].name == "sign_flip"


def test_a_folder_chooses_nothing_that_nobody_permitted() -> None:
    """Neither by a module's name nor by a registered one; what is read imports nothing."""
    config = load_config(["attack=storm", "defence=fedavg"])
    save_config(config, Path("config.yaml"))
    for name in [name for name in sys.modules if name.startswith("storm_pkg")]:
        del sys.modules[name]
    read = read_config(Path("config.yaml"))
    with pytest.raises(NotPermitted, match=r"--allow storm_pkg\.code:Storm"):
        read.permit(permit([]))
    Path("alias.yaml").write_text(Path("config.yaml").read_text().replace(f"{OWN}:Storm", "storm"))
    with pytest.raises(ConfigError, match="attack must be one of"):
        read_config(Path("alias.yaml"))
    with pytest.raises(ConfigError, match="attack must be one of"):
        AttackConfig("storm")
    assert not imported()
    read.permit(permit(["storm"]))  # --allow takes the registered name too
    assert imported()
