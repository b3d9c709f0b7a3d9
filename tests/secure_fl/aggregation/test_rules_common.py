"""One contract for every shipped rule and stage; a new one is held to it unasked."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import (
    Pipeline,
    build_rule,
    describe_rule,
    make_stage,
    rule_names,
    stage_factories,
)
from secure_fl.aggregation.pipeline import from_config
from secure_fl.aggregation.rules import rule_builders
from secure_fl.errors import ConfigError, InputError
from tests.support.oracles import case

CLEAR = ("plain", "fixed")

# Bad values by the name of a parameter; a stage with a new parameter must add its own here.
BAD: dict[str, list[Any]] = {
    "max_norm": [0.0, -1.0, float("nan")],
    "beta": [-0.01, 0.5, 1.0, float("nan")],
    "threshold": [-1.01, 1.01, float("nan")],
    "reference": ["mean", "", 3],
    "by": ["size", "", None],
    "ratio": [-0.01, 1.01, float("nan")],
    "spared": [-1.01, 1.01, float("nan")],
    "deviations": [0.0, -1.0, 5e-324, 2.0**21, float("nan")],
    "num_malicious": [-1, 1.5, "many", 1025, 2**62],
    "keep": [0, -1, 1.5],
    "verdicts": [None, 1, "yes"],
    "columns": [0, -1, 2.5],
    "window": [0, 51, 1.5],
    "pivot": [-1, 0.5, None],
    "smoothing": [0.0, -1.0, 2.0**11, float("nan")],
    "steps": [0, 101, 1.5],
    "start": ["median", "", None],
    "agreement": [0.0, -0.1, 1.1, float("nan")],
    "tau": [0.0, -1.0, float("nan")],
    "iterations": [0, -1, 17, 1.5],
    "step": [0.0, -1.0, 2.0**-17, 2.0**9, float("nan")],
    "size": [0, -1, 1025, 2.5],
    "count": [0, -1, 1025, 2.5],
    "lower": [-0.1, 1.1, float("nan")],
    "upper": [0.9, 2.0**11, float("nan")],
    "share": [0.0, -0.1, 1.1, float("nan")],
    "fraction": [0.0, -0.1, 1.1, float("nan")],
    "sign_deviations": [0.0, -1.0, 257.0, float("nan")],
    "cosine_deviations": [0.0, -1.0, 257.0, float("nan")],
    "sigma": [0.0, -1.0, 17.0, float("nan")],
    "synthetic": [-0.1, 1.1, float("nan")],
    "max_abs": [0.0, -1.0, 2.0**-9, 2.0**15, float("inf"), float("nan")],
}


def staged(name: str) -> Pipeline:
    """The shortest rule that has this stage in it."""
    alone = Pipeline((stage_factories()[name](),), 2.0)
    try:
        secure_fl.aggregate(np.full((5, 3), 0.125), alone, reference=np.ones(3), model=np.ones(3))
    except InputError:  # it makes no update
        return replace(alone, stages=(*alone.stages, make_stage("weighted_mean", {})))
    return alone


UNITS = {
    **{f"rule {name}": build_rule(name) for name in rule_names()},
    **{f"stage {name}": staged(name) for name in stage_factories()},
}
every_unit = pytest.mark.parametrize("unit", sorted(UNITS))
every_clear = pytest.mark.parametrize("backend", CLEAR)


def aggregate(unit: str, x: Any, backend: str = "fixed", **options: Any) -> Any:
    """With one seed, so that groups, places and noise are the same each time."""
    return secure_fl.aggregate(x, UNITS[unit], backend, **({"seed": bytes(32)} | options))


def sample(n: int = 9, d: int = 11, seed: int = 3) -> dict[str, Any]:
    x, reputation, root = case("plain", n, d, seed)
    return {"x": x, "reputation": reputation, "reference": root, "model": root[::-1].copy()}


def test_every_stage_file_is_found() -> None:
    package = __import__("secure_fl.aggregation.stages", fromlist=["x"])
    files = {p.stem for p in __import__("pathlib").Path(package.__path__[0]).glob("*.py")}
    assert set(stage_factories()) == files - {"__init__"}
    assert len(stage_factories()) >= 7


@every_unit
@every_clear
def test_openings_equal_the_declaration(unit: str, backend: str) -> None:
    rule, given = UNITS[unit], sample()
    result = aggregate(unit, given.pop("x"), backend, **given)
    assert [o.name for o in result.opened] == list(rule.opens)
    assert result.opened[-1] == ("update", (11,), 2.0**-16)
    # Later flags concern only those whom earlier ones left in play.
    assert result.opened[0] == rule.declaration(9, 11)[0]
    assert all(
        o.shape <= full.shape
        for o, full in zip(result.opened, rule.declaration(9, 11), strict=True)
    )


@every_unit
@every_clear
def test_shapes_and_types(unit: str, backend: str) -> None:
    sizes = [(1, 1), (2, 5), (6, 1), (21, 3), (65, 2)]
    if unit.startswith("rule "):  # every shipped stage but a few is in one
        sizes.append((500, 1))
    for n, d in sizes:
        given = sample(n, d)
        if n > (UNITS[unit].most_hospitals or n):
            with pytest.raises(InputError, match=rf"{n} hospitals: \w+ takes at most \d+$"):
                aggregate(unit, given["x"], backend)
            continue
        conversions = (torch.as_tensor, np.asarray, lambda x: torch.as_tensor(x).float())
        for convert in conversions if n < 50 else conversions[:1]:
            x = convert(given["x"])
            result = aggregate(unit, backend=backend, **(given | {"x": x}))
            assert result.update.shape == (d,)
            assert result.update.dtype == torch.float64
            assert bool(result.update.isfinite().all())
            assert result.accepted.shape == (n,)
            assert result.accepted.dtype == torch.bool


@every_unit
@every_clear
def test_inputs_are_untouched_and_results_repeat(unit: str, backend: str) -> None:
    given = {name: torch.as_tensor(value) for name, value in sample().items()}
    before = {name: value.clone() for name, value in given.items()}
    first = aggregate(unit, backend=backend, **given)
    first.update.zero_()  # not a view of anything
    second = aggregate(unit, backend=backend, **given)
    third = aggregate(unit, backend=backend, **given)
    assert all(torch.equal(given[name], before[name]) for name in given)
    assert torch.equal(second.update, third.update)


@every_unit
@every_clear
def test_the_order_of_hospitals_does_not_matter(unit: str, backend: str) -> None:
    if any("pivot" in stage.config[1] for stage in UNITS[unit].stages):
        pytest.skip("it names a hospital")
    if any(s.config[0] in ("bucketing", "grouping") for s in UNITS[unit].stages):
        pytest.skip("groups go by the hospitals' numbers")
    given = sample(n=10, d=7)
    order = np.random.default_rng(0).permutation(10)
    straight = aggregate(unit, given["x"], backend, **{k: given[k] for k in list(given)[1:]})
    mixed = aggregate(
        unit,
        given["x"][order],
        backend,
        reputation=given["reputation"][order],
        reference=given["reference"],
        model=given["model"],
    )
    assert mixed.accepted.tolist() == straight.accepted[torch.as_tensor(order)].tolist()
    torch.testing.assert_close(mixed.update, straight.update, rtol=1e-9, atol=1e-12)


@every_unit
def test_a_rule_is_data(unit: str) -> None:
    """JSON and back gives the same rule: that is how the computing nodes get it."""
    rule, given = UNITS[unit], sample()
    again = from_config(json.loads(json.dumps(rule.to_config())))
    assert (again.to_config(), again.opens, again.bits) == (
        rule.to_config(),
        rule.opens,
        rule.bits,
    )
    x = given.pop("x")
    first, second = (
        secure_fl.aggregate(x, r, "fixed", seed=bytes(32), **given) for r in (rule, again)
    )
    assert torch.equal(first.update, second.update)


@every_unit
@every_clear
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_refused_by_name(
    unit: str, backend: str, value: float
) -> None:
    given = sample()
    given["x"][4, 2] = value
    with pytest.raises(InputError, match="hospital 4's update is refused: every coord"):
        aggregate(unit, backend=backend, **given)


@every_unit
def test_an_update_out_of_range_is_refused_by_name(unit: str) -> None:
    given = sample()
    given["x"][7, 1] = -UNITS[unit].limit
    with pytest.raises(InputError, match=r"hospital 7's update is refused: every coord\w+ must"):
        aggregate(unit, **given)


@every_unit
@every_clear
def test_wrong_shapes_and_values_are_refused(unit: str, backend: str) -> None:
    given = sample()
    bad: list[dict[str, Any]] = [
        {"x": given["x"][0]},
        {"x": given["x"][None]},
        {"x": given["x"].astype(int)},
        {"x": given["x"][:0]},
        {"x": given["x"][:, :0]},
        {"reputation": given["reputation"][1:]},
        {"reputation": given["reputation"] + 1.0},
        {"reputation": np.full(9, np.nan)},
        {"reference": given["reference"][1:]},
        {"reference": np.full(11, np.nan)},
        {"model": given["model"][1:]},
        {"model": np.full(11, np.inf)},
        {"seed": bytes(31)},
    ]
    for change in bad:
        with pytest.raises(InputError):
            aggregate(unit, backend=backend, **(given | change))


@pytest.mark.parametrize("name", sorted(stage_factories()))
def test_bad_parameters_of_stages_are_refused(name: str) -> None:
    parameters = list(inspect.signature(stage_factories()[name]).parameters)
    for parameter in parameters:
        for value in BAD[parameter]:
            with pytest.raises((InputError, ConfigError), match=parameter):
                make_stage(name, {parameter: value})
    with pytest.raises(ConfigError, match="speed"):
        make_stage(name, {"speed": 1})


@pytest.mark.parametrize("name", rule_names())
def test_bad_parameters_of_rules_are_refused(name: str) -> None:
    builder = rule_builders()[name]
    for parameter in inspect.signature(builder).parameters:
        for value in BAD[parameter]:
            with pytest.raises((InputError, ConfigError), match=parameter):
                build_rule(name, **{parameter: value})
    with pytest.raises(ConfigError, match=f"rule {name} has no parameter 'speed'"):
        build_rule(name, speed=1)


@every_unit
def test_rules_that_need_a_root_or_the_model_say_so(unit: str) -> None:
    given = sample()
    if UNITS[unit].uses_reference:
        with pytest.raises(InputError, match="needs a reference"):
            aggregate(unit, given["x"])
    elif UNITS[unit].uses_model:
        with pytest.raises(InputError, match="needs the global model"):
            aggregate(unit, given["x"])
    else:
        aggregate(unit, given["x"])


@pytest.mark.parametrize("name", rule_names())
def test_rules_describe_themselves(name: str) -> None:
    assert 20 < len(describe_rule(name)) <= 100
    assert stage_factories().keys() >= {s.config[0] for s in build_rule(name).stages}
