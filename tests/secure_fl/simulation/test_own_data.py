"""Data and models of one's own by name: what imports them, what does not, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import secure_fl
from secure_fl.errors import ConfigError, InputError, NotPermitted
from secure_fl.models import TorchModule
from secure_fl.settings.config import load_config, read_config, save_config
from secure_fl.settings.permitted import permit
from secure_fl.simulation.prepare import prepare
from tests.docs.test_examples import blocks

# Not the name in the documentation, whose module other tests may have imported.
MODULE = "data_for_a_test"
SETTINGS = (
    f"data={MODULE}:rings",
    f"model={MODULE}:wide",
    "data.hospitals=4",
    "data.validators=2",
    "ledger.quorum=2",
    "rounds=1",
    "train.epochs=1",
    "malicious=0.25",
    "defence=fedavg",
)


@pytest.fixture
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the documentation, in the current directory."""
    (source,) = [b.text for b in blocks("docs/extending.md") if b.file == "my_data.py"]
    source += "\n\n@secure_fl.dataset\ndef none(path):\n    return 5\n"
    source += "\n\n@secure_fl.model\ndef nothing(shape, classes):\n    return 5\n"
    (tmp_path / f"{MODULE}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


@pytest.mark.usefixtures("_module")
def test_names_lead_to_data_and_a_model() -> None:
    federation = prepare(load_config([*SETTINGS, "model.params.width=8"]))
    assert isinstance(federation.model, TorchModule)
    assert federation.data.class_names == ("inner", "middle", "outer")
    assert federation.model.num_parameters == 2 * 8 + 8 + 8 * 3 + 3
    result = secure_fl.run([*SETTINGS, "attack=sign_flip"])
    assert len(result.rows) == 2
    again = prepare(load_config([*SETTINGS, "model.params.width=8"]))
    assert torch.equal(again.initial, federation.initial)


@pytest.mark.usefixtures("_module")
def test_reading_settings_imports_nothing(tmp_path: Path) -> None:
    config = load_config(SETTINGS)
    save_config(config, tmp_path / "config.yaml")
    del sys.modules[MODULE]
    read = read_config(tmp_path / "config.yaml")
    assert MODULE not in sys.modules
    assert read.own_names == (f"{MODULE}:rings", f"{MODULE}:wide")
    with pytest.raises(NotPermitted, match=f"--allow {MODULE}:rings"):
        prepare(read)
    with pytest.raises(NotPermitted, match=f"--allow {MODULE}:wide"):
        read.permit(permit([f"{MODULE}:rings"]))
    with pytest.raises(NotPermitted, match=f"--allow {MODULE}:wide"):
        prepare(read)
    read.permit(permit(read.own_names))
    assert prepare(read).data_sha256 == prepare(config).data_sha256


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (f"data={MODULE}:wide", "must be marked with @dataset; it is with @model"),
        (f"model={MODULE}:rings", "must be marked with @model; it is with @dataset"),
        (f"data={MODULE}:Path", "is not marked with"),
        ("data=no_such_module:rows", "cannot import"),
        ("data=a:b:c", 'must be "module:name"'),
        (f"data={MODULE}:none", "must return a Dataset; got int"),
        (f"model={MODULE}:nothing", "must return a Model or a torch.nn.Module; got int"),
        ("model.params.widht=8", f"parameter of {MODULE}:wide must be one of width"),
    ],
)
def test_what_is_no_data_or_model_is_refused(given: str, reason: str) -> None:
    with pytest.raises((ConfigError, InputError), match=reason):
        prepare(load_config([*SETTINGS, given]))
