"""Models that the contract refused are kept, measured and tuned again like those that stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from eval.audit.run import audit_run
from eval.jobs.manifest import write_manifest
from secure_fl.server.server import GuardedServer
from secure_fl.simulation.folder import model_path, read_model, refused_path
from tests.support import tiny_job
from tests.support.audited import forge, places, rows

STRICT = ("attacks=[]", "rounds=2", "ledger.loss_rise=0.0001")
# A tuning on rows of which nothing is left makes the model worse.
WORSE = (*STRICT, "train.lr=0.05", "defence.guard.tune_share=1.0")
FALLS = {
    "guarded": ("defences=[guarded]", *WORSE, "defence.guard.tune_epochs=30"),
    "distilled": ("defences=[distilled]", *WORSE),
}


def closing(cell: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((cell / "closing.json").read_text())
    return found


@pytest.mark.parametrize("defence", FALLS)
def test_a_closing_that_was_rolled_back_is_compared(defence: str, tmp_path: Path) -> None:
    folder = tiny_job.run(tmp_path / "run", FALLS[defence])
    cell = folder / "cells" / f"{defence}--none"
    assert closing(cell)["status"] == "abnormal"
    last = read_model(model_path(cell, 2))
    assert torch.equal(read_model(cell / "models" / "final.npy"), last)
    assert not torch.equal(read_model(refused_path(cell, 3)), last)
    honest = audit_run(folder)
    assert honest.findings == []
    assert not [each for each in honest.unchecked if "rolled back" in each.reason]
    refused_path(cell, 3).unlink()
    forge(folder)
    write_manifest(folder)
    without = audit_run(folder)
    assert without.findings == []
    told = [each.what for each in without.unchecked if "rolled back" in each.reason]
    assert told == [f"validators' figures of cells/{defence}--none, entry 3"]


def test_a_round_that_was_rolled_back_is_measured(tmp_path: Path) -> None:
    settings = ["defences=[guarded]", *STRICT, "train.lr=1.0"]
    folder = tiny_job.run(tmp_path / "run", settings)
    cell = folder / "cells" / "guarded--none"
    fallen = [row["round"] for row in rows(cell / "rounds.jsonl") if row["status"] == "abnormal"]
    assert fallen == [2]
    assert refused_path(cell, 2).is_file()
    before = audit_run(folder)
    assert before.findings == []
    model_path(cell, 1).replace(tmp_path / "other.npy")
    (tmp_path / "other.npy").replace(refused_path(cell, 2))
    place = "cells/guarded--none/models/refused-002.npy"
    assert place in places(audit_run(folder))


def halfway(self: GuardedServer, model: torch.Tensor, state: object) -> torch.Tensor:
    """A server that tunes half of the way and keeps half of what it began at."""
    return (HONEST(self, model, state) + self.begins(model)) / 2


def rubbish(self: GuardedServer, model: torch.Tensor, state: object) -> torch.Tensor:
    """A server that hands in what validators must refuse, so that the model before is published."""
    return torch.full_like(model, 50.0)


HONEST = GuardedServer.finish


@pytest.mark.parametrize("defence", ["guarded", "distilled"])
@pytest.mark.parametrize("cheat", [halfway, rubbish])
def test_a_server_that_tunes_otherwise_is_found(
    defence: str, cheat: object, tmp_path: Path
) -> None:
    """The coordinator cheats; validators and all that is recorded are honest."""
    settings = [f"defences=[{defence}]", "attacks=[]", "rounds=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardedServer, "finish", cheat)
        folder = tiny_job.run(tmp_path / "run", settings)
    cell = folder / "cells" / f"{defence}--none"
    fell = closing(cell)["status"] == "abnormal"
    assert fell or cheat is halfway
    name = "refused-002.npy" if fell else "final.npy"
    found = [
        place for place in places(audit_run(folder)) if defence in place
    ]  # root_only tunes too
    assert found == [f"cells/{defence}--none/models/{name}"]
