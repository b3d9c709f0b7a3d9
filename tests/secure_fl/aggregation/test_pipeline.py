"""Pipelines: composing, refusing what does not compose, secrets that stay secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, Stage, build_rule, make_stage, stage
from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.pipeline import from_config
from secure_fl.aggregation.worlds import fixed, plain
from secure_fl.errors import ConfigError, InputError, NodeFailure
from tests.support.reveal import reveal
from tests.support.surrounded import out_of

X = torch.tensor([[0.5, 1.0], [0.25, -1.0], [0.75, 0.5]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("medain", "rule must be one of .*median.*; got 'medain'"),
        ("no_module:rule", "'no_module:rule': cannot import 'no_module'"),
        ("math:nothing", "math .* has no 'nothing'; marked in it: none"),
        ("math:factorial", "'factorial' of math .* is not marked"),
        ({"stages": [{"medain": {}}], "max_abs": 1.0}, "stage must be one of .*; got 'medain'"),
        ({"stages": [{"a": {}, "b": {}}], "max_abs": 1.0}, "a stage must be"),
        ({"stages": [3], "max_abs": 1.0}, "a stage must be"),
        ({"stage": []}, r"keys are max_abs and stages; got \['stage'\]"),
        ({"stages": []}, "stages must be at least one"),
        ({"stages": ["coordinate_median"]}, "max_abs must be given"),
        ({"stages": ["coordinate_median"], "max_abs": 1e9}, "max_abs must be in"),
        (
            {"stages": ["cosine_screen", "cosine_screen", "weighted_mean"], "max_abs": 1.0},
            "names of openings must be distinct",
        ),
    ],
)
def test_what_does_not_compose_is_refused(spec: Any, match: str) -> None:
    with pytest.raises((ConfigError, InputError, TypeError), match=match):
        build_rule(spec)


def test_parameters_go_with_a_name_only() -> None:
    with pytest.raises(ConfigError, match="parameters go with a rule's name only"):
        build_rule(build_rule("median"), max_abs=1.0)


def test_a_rule_must_end_with_an_update() -> None:
    rule = {"max_abs": 2.0, "stages": ["clip_norm"]}
    with pytest.raises(InputError, match="clip_norm does not"):
        secure_fl.aggregate(X, rule)


def test_forms_of_one_rule() -> None:
    """A name, data, a stage and a pipeline give the same."""
    forms = [
        "median",
        {"max_abs": 128.0, "stages": ["coordinate_median"]},
        {"max_abs": 128.0, "stages": [{"coordinate_median": None}]},
        make_stage("coordinate_median", {}),
        Pipeline((make_stage("coordinate_median", {}),), 128.0),
    ]
    for form in forms:
        assert build_rule(form).to_config() == build_rule("median").to_config()
        assert secure_fl.aggregate(X, form).update.tolist() == [0.5, 0.5]


def test_a_rule_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_rule.py").write_text(
        "from secure_fl.aggregation import make_stage, rule\n"
        "@rule\ndef middle():\n    return make_stage('coordinate_median', {})\n"
        "@rule\ndef wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert secure_fl.aggregate(X, "outside_rule:middle").update.tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="must return a Pipeline; got int"):
        build_rule("outside_rule:wrong")


def test_a_second_stage_of_one_name_is_refused() -> None:
    def coordinate_median() -> Stage:
        raise AssertionError("never made")

    coordinate_median.__module__ = "secure_fl.aggregation.stages.another"
    make_stage("coordinate_median", {})
    with pytest.raises(ConfigError, match="coordinate_median exists already"):
        stage(coordinate_median)


@pytest.mark.parametrize("bits", [None, 18])
def test_secrets_cannot_be_looked_at(bits: int | None) -> None:
    ops = plain.PlainOps() if bits is None else fixed.ClearOps()
    x = plain.encode(X) if bits is None else fixed.wrap(X, bits)
    secret = ops.squared_norms(x)
    with pytest.raises(InputError, match="open it by name"):
        bool(secret < 1.0)
    assert ops.opened == []
    ops.exits.allow((Opens("norms", unit=2.0**-32),), rows=3, dim=2)
    norms = ops.open("norms", secret)
    assert ops.opened == [("norms", (3,), 2.0**-32)]
    assert norms.tolist() == [1.25, 1.0625, 0.8125]


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_small_operations(backend: str) -> None:
    """Arithmetic on secrets against Python's, exact for these numbers."""
    ops = plain.PlainOps() if backend == "plain" else fixed.ClearOps()
    x = plain.encode(X) if backend == "plain" else fixed.wrap(X, 18)
    a = ops.squared_norms(x)  # 1.25, 1.0625, 0.8125
    (b,) = ops.kth_values(a, [1])  # 1.0625

    def value(secret: Any) -> list[Any]:
        return reveal(secret).tolist()

    assert value(a + b) == [2.3125, 2.125, 1.875]
    assert value(a - b) == [0.1875, 0.0, -0.25]
    assert value(a + 0.5) == [1.75, 1.5625, 1.3125]
    assert value(a - 1.0) == [0.25, 0.0625, -0.1875]
    assert value(a * 3.0) == [3.75, 3.1875, 2.4375]
    assert value(3.0 * a) == value(a * 3.0)
    assert value(a * 0.5) == [0.625, 0.53125, 0.40625]
    assert value(a < b) == [False, False, True]
    assert value(a >= b) == [True, True, False]
    assert value(a < 1.0625) == [False, False, True]
    assert value((a >= b) & (a < 1.2)) == [False, True, False]
    assert value(~(a < b)) == [True, True, False]
    assert value(a * (a < b)) == [0.0, 0.0, 0.8125]
    assert value(ops.absolute(a - b)) == [0.1875, 0.0, 0.25]
    assert value(ops.maximum(a, b)) == [1.25, 1.0625, 1.0625]
    assert value(ops.minimum(a, b)) == [1.0625, 1.0625, 0.8125]
    assert value(ops.minimum(a, 1.0)) == [1.0, 1.0, 0.8125]
    assert value(ops.median_of(a)) == [1.0625]
    assert value(ops.sum(a)) == [3.125]
    assert [value(s) for s in ops.kth_values(a, [0, 2])] == [[0.8125], [1.25]]


def test_state_belongs_to_the_session() -> None:
    """Two sessions of one pipeline object do not share a history."""
    rule = build_rule("guarded")
    root = torch.tensor([0.0, 1.0])
    outcomes = []
    for start in (X, -X):
        session = secure_fl.open_backend("fixed").session(rule, 3, 2)
        session.aggregate(session.submit(start), reference=root)
        result = session.aggregate(session.submit(X), reference=root)
        outcomes.append(result.accepted.tolist())
    fresh = secure_fl.open_backend("fixed").session(rule, 3, 2)
    again = fresh.aggregate(fresh.submit(X), reference=root).accepted.tolist()
    assert outcomes[0] == again
    assert outcomes[1] != again


def test_linear_rules_need_no_bound() -> None:
    rule = from_config({"stages": ["weighted_mean"]})
    assert (rule.bits, rule.max_abs) == (64, None)
    big = torch.tensor([[2.0**19], [2.0**19 - 1]], dtype=torch.float64)
    assert secure_fl.aggregate(big, rule, "fixed").update.tolist() == [2.0**19 - 0.5]


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_a_rule_that_needs_more_rows_than_there_are_is_refused_before_round_1(backend: str) -> None:
    borne = Pipeline((out_of(rows=15, num_malicious=6),), 2.0)
    said = r"cannot bear num_malicious=6 of 12 hospitals: \S+:out_of needs at least 15$"
    with pytest.raises(InputError, match=said):
        secure_fl.open_backend(backend).session(borne, 12, 2)
    said = r"cannot work with 2 hospitals: \S+:out_of needs at least 3$"
    with pytest.raises(InputError, match=said):
        secure_fl.open_backend(backend).session(Pipeline((out_of(),), 2.0), 2, 2)


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_with_fewer_rows_than_a_stage_needs_nothing_is_combined(backend: str) -> None:
    session = secure_fl.open_backend(backend).session(Pipeline((out_of(),), 2.0), 3, 2)
    whole = session.aggregate(session.submit(X))
    assert whole.update.tolist() == X[0].tolist()
    few = session.aggregate(session.submit(X, [True, False, True]))
    assert few.update.tolist() == [0.0, 0.0]
    assert few.accepted.tolist() == [True, False, True]
    assert few.opened == [("update", (2,), 2.0**-16)]
    again = session.aggregate(session.submit(X))
    assert again.update.tolist() == X[0].tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "stage without a name must return its context and its state; got NoneType"),
        ((1, 2), "stage without a name must return its context and its state; got tuple"),
        # Without its words: they may quote a share, and go to the coordinator.
        (AttributeError("no sum"), "stage without a name failed with AttributeError$"),
    ],
)
def test_a_stage_of_ones_own_that_fails_is_named(given: Any, said: str) -> None:
    def apply(context: Any, state: Any) -> Any:
        if isinstance(given, Exception):
            raise given
        return given

    with pytest.raises(InputError, match=said):
        secure_fl.aggregate(
            X, Pipeline([Stage(apply), make_stage("weighted_mean", {})], max_abs=2.0)
        )


def test_a_node_that_is_gone_is_no_mistake_of_a_stage() -> None:
    def apply(context: Any, state: Any) -> Any:
        raise NodeFailure("node 1 is gone")

    rule = Pipeline([Stage(apply), make_stage("weighted_mean", {})], max_abs=2.0)
    with pytest.raises(NodeFailure, match=r"^node 1 is gone$"):
        secure_fl.aggregate(X, rule)
