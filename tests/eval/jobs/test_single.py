"""Runs from Python: arrays, objects, callbacks, single steps; and what is refused at the door."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from attacks import Attack, attack, load
from attacks.label_flip import LabelFlip
from attacks.sign_flip import SignFlip
from eval.jobs.single import run, start
from secure_fl.aggregation import Pipeline, make_stage
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.simulation.folder import TIMINGS
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job

Pair = tuple[Any, Any]


def rows(m: int, seed: int, classes: int = 3) -> Pair:
    """Rows (m, 5) whose class is the largest of the first columns."""
    x = np.random.default_rng(seed).random((m, 5))
    return x, x[:, :classes].argmax(axis=1)


def parts(classes: int = 3) -> dict[str, Any]:
    return {
        "hospitals": [rows(60, i, classes) for i in range(4)],
        "root": rows(40, 10, classes),
        "validators": [rows(30, 20 + i, classes) for i in range(2)],
        "test": rows(90, 30, classes),
    }


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation.from_arrays(**parts(), model="mlp", model_params={"hidden": [8]})


FAST: dict[str, Any] = {"rounds": 2, "train": {"epochs": 1, "lr": 0.01}, "malicious": 0.25}


def timeless(result: secure_fl.RunResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in result.rows]


def test_arrays_tensors_and_names_give_what_the_settings_give() -> None:
    """The same rows, handed over: the same models and hashes to the last digit."""
    settings = [*tiny_job.SETTINGS, "defence=fedavg", "attack=sign_flip", "privacy.clip_norm=2"]
    prepared = prepare(tiny_job.config())
    data = prepared.data
    pairs = [(split.x.numpy(), split.y) for split in data.hospitals]
    again = Federation.from_arrays(
        pairs,
        (data.root.x, data.root.y.numpy()),
        [(v.x, v.y) for v in data.validators],
        (data.test.x, data.test.y),
        prepared.model,
    )
    named = secure_fl.run(settings)
    handed = secure_fl.run(
        replace(again, class_counts=prepared.class_counts),
        attack=SignFlip(),
        defence="fedavg",
        backend="fixed",
        malicious=0.25,
        rounds=2,
        train={"epochs": 1},
        privacy={"clip_norm": 2.0},
    )
    assert torch.equal(named.model, handed.model)
    assert named.malicious == handed.malicious
    shared = ("update_sha256", "model_sha256", "accuracy", "accepted")
    for one, two in zip(named.rows[1:], handed.rows[1:], strict=True):
        assert {k: one[k] for k in shared} == {k: two[k] for k in shared}


def test_a_frame_has_one_row_a_round(federation: Federation) -> None:
    result = secure_fl.run(federation, attack=LabelFlip(2, 0), defence="median", **FAST)
    frame = result.frame
    assert list(frame["round"]) == [0, 1, 2]
    assert frame["test_accuracy"].between(0, 1).all()
    assert frame["attack_success"].isna().tolist() == [True, False, False]
    assert frame["accepted"].tolist()[1:] == [4, 4]
    assert frame["model_sha256"].iloc[-1] == result.closing["model_sha256"]
    clean = secure_fl.run(federation, defence="median", **FAST)
    untargeted = run(federation, attack="sign_flip", defence="median", clean=clean, **FAST)
    assert untargeted.frame["attack_success"].iloc[1:].between(0, 1).all()
    alone = run(federation, attack="sign_flip", defence="median", **FAST)
    assert alone.frame["attack_success"].isna().all()


@attack
@dataclass(frozen=True)
class Silence(Attack):
    """Send zeros."""

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: Any) -> torch.Tensor:
        """Zeros."""
        return torch.zeros_like(own)


def test_names_and_objects_mean_the_same(federation: Federation) -> None:
    rule = Pipeline((make_stage("trimmed_mean", {"beta": 0.25}),), 8.0)
    data = {"max_abs": 8.0, "stages": [{"trimmed_mean": {"beta": 0.25}}]}
    one = run(federation, attack="sign_flip", defence=data, **FAST)
    two = run(federation, attack=load("sign_flip"), defence=rule, **FAST)
    assert timeless(one) == timeless(two)
    own = run(federation, attack=Silence(), defence=rule, **FAST)
    assert own.rows[1]["update_sha256"] != one.rows[1]["update_sha256"]


def test_the_seed_draws_the_initial_model(federation: Federation) -> None:
    heads = {run(federation, seed=seed, **FAST).rows[0]["model_sha256"] for seed in (0, 1, 1)}
    assert len(heads) == 2


def test_callbacks_see_every_round(federation: Federation) -> None:
    seen: list[tuple[int, torch.Tensor]] = []
    result = run(
        federation,
        observe=lambda number, model: {"length": float(model.norm())},
        on_round=lambda row, model: seen.append((row["round"], model)),
        **FAST,
    )
    assert [number for number, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[-1][1], result.model)
    assert [row["length"] for row in result.rows] == [float(m.norm()) for _, m in seen]

    def stop(row: dict[str, Any], model: torch.Tensor) -> None:
        if row["round"] == 1:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        run(federation, on_round=stop, **FAST)


def test_stepping_is_the_same_run(federation: Federation) -> None:
    whole = run(federation, attack="sign_flip", **FAST)
    with start(federation, attack="sign_flip", **FAST) as steps:
        assert [row["round"] for row in steps.rows] == [0]
        first = steps.step()
        assert steps.state.model.shape == federation.initial.shape
        second = steps.step()
        assert steps.done
        with pytest.raises(SecureFLError, match="no round is left"):
            steps.step()
        result = steps.finish()
        assert steps.finish() is result
    assert [first["round"], second["round"]] == [1, 2]
    assert timeless(result) == timeless(whole)
    with start(federation, **FAST) as steps:
        steps.step()
        early = steps.finish()
    assert len(early.rows) == 2
    with start(federation, **FAST) as steps:
        pass
    with pytest.raises(SecureFLError, match="closed before"):
        steps.finish()


def test_a_scaled_federation_lies_in_the_roots_range() -> None:
    given = parts()
    x, y = given["root"]
    wide = {
        **given,
        "root": (x * 10 - 3, y),
        "test": (given["test"][0] * 40 - 20, given["test"][1]),
    }
    wide["hospitals"] = [(x * 10 - 3, y) for x, y in given["hospitals"]]
    with pytest.raises(InputError, match=r"features of root must be in \[0, 1\] \(scale them, or"):
        Federation.from_arrays(**wide)
    scaled = Federation.from_arrays(**wide, scale=True).data
    assert (scaled.root.x.amin(0) == 0).all()
    assert (scaled.root.x.amax(0) == 1).all()
    assert scaled.test.x.min() == 0
    low, high = x.min(axis=0), x.max(axis=0)
    wanted = ((given["hospitals"][0][0] - low) / (high - low)).clip(0, 1)
    assert np.allclose(scaled.hospitals[0].x, wanted, atol=1e-5)


def changed(key: str, index: int | None, pair: Any) -> dict[str, Any]:
    given = parts()
    if index is None:
        given[key] = pair
    else:
        given[key][index] = pair
    return given


def labelled(names: Any) -> dict[str, Any]:
    """The same parties with other names for classes 0, 1 and 2."""
    table = np.array(names)
    return {
        key: [(x, table[y]) for x, y in v] if isinstance(v, list) else (v[0], table[v[1]])
        for key, v in parts().items()
    }


X, Y = rows(60, 1)
HOLED = X.copy()
HOLED[7, 2] = np.nan


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (changed("hospitals", None, []), "hospitals must be a list of 1 to 500 pairs .* got '0'"),
        (changed("validators", None, []), "validators must be a list of 1 to 32 pairs"),
        (changed("hospitals", None, "x"), "hospitals must be a list of .* got str"),
        (changed("hospitals", 1, (X[:0], Y[:0])), "features of hospital 1 must be not empty"),
        (changed("hospitals", 1, X), r"hospital 1 must be a pair \(x, y\); got ndarray"),
        (changed("hospitals", 2, (X[:, :4], Y)), r"features of hospital 2 must be of shape \(5,\)"),
        (changed("hospitals", 2, (X, Y[:9])), "labels of hospital 2 must be 60, one a row"),
        (changed("hospitals", 2, (HOLED, Y)), "features of hospital 2 must be finite; row 7"),
        (
            changed("hospitals", 2, (X, Y * 0.5)),
            "labels of hospital 2 must be whole .*float64",
        ),
        (
            changed("hospitals", 0, (X.astype(object), Y)),
            "numbers; got an array of objects",
        ),
        (changed("hospitals", 0, ([[1.0], [1.0, 2.0]], [0, 1])), "rows of one length"),
        (changed("root", None, (X, Y.astype(str))), "labels of root must be whole .* numpy.unique"),
        (changed("root", None, (X, Y - 1)), "labels must be 0..C-1 .*got -1, 0, 1, 2: map them"),
        (labelled([1, 2, 3]), r"labels must be 0..C-1 .* got 1, 2, 3: map them .*numpy.unique"),
        (labelled([0, 1, 7]), "labels must be 0..C-1 .* got 0, 1, 7"),
        (labelled([0, 0, 0]), "labels must be 0..C-1 for C >= 2 classes"),
        (
            {**parts(), "hospitals": [(X[Y < 2], Y[Y < 2])]},
            r"rows of the hospitals must be of all 3 classes; got 'none of \[2\]'",
        ),
        (changed("test", None, (X[Y > 0], Y[Y > 0])), r"rows of the test must be .*none of \[0\]"),
        ({**parts(), "class_names": ["a", "b"]}, "class_names must be 3, one a class"),
        ({**parts(), "model": "mpl"}, "model must be one of .*did you mean mlp"),
        ({**parts(), "model": 5}, "model must be a name, a torch.nn.Module or .*; got int"),
        ({**parts(), "model": "cnn"}, "feature_shape must be"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Federation.from_arrays(**given)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"attack": SignFlip}, r"attack must be built, as SignFlip\(\)"),
        ({"attack": Attack()}, "attack Attack must be marked with @attack"),
        ({"attack": 5}, "attack must be a name or an attack .* got int"),
        ({"attack": "sign_flop"}, "did you mean sign_flip"),
        ({"attack": LabelFlip(3, 0)}, "source_class must be from 0 to 2"),
        ({"attack": "no_module:Attack"}, "cannot import 'no_module'"),
        ({"defence": 5}, "defence must be a name, a rule or its settings .* got int"),
        ({"defence": "medain"}, "did you mean median"),
        ({"attack": "sign_flip", "malicious": 0.6}, "malicious must be a share"),
        ({"attack": "sign_flip", "malicious": 0.1}, "at least one whole hospital of 4"),
        ({"rounds": 0}, "rounds must be from 1"),
        ({"train": {"epoch": 1}}, "key of train must be one of epochs"),
        ({"train": {"epochs": "x"}}, "epochs must be of type int"),
        ({"train": 5}, "train must be a mapping; got 5"),
        ({"ledger": {"quorum": 3}}, "ledger.quorum must be at most data.validators, 2"),
    ],
)
def test_choices_that_do_not_fit_are_refused(
    federation: Federation, choices: dict[str, Any], reason: str
) -> None:
    with pytest.raises((ConfigError, InputError), match=reason):
        run(federation, **choices)


def test_settings_and_objects_are_not_mixed(federation: Federation) -> None:
    with pytest.raises(InputError, match="attack go with a Federation"):
        run(["rounds=1"], attack="sign_flip")
    with pytest.raises(InputError, match="list of settings; got str"):
        run("rounds=1")
    with pytest.raises(InputError, match="federation must be a Federation; got list"), start([]):  # type: ignore[arg-type]
        pass
