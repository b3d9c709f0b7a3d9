"""The contract of every attack, the ones found in the package and one from outside."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import attacks
from attacks import Attack, attack
from attacks.checks import CHECKS, check_attack
from secure_fl.descriptions import first_line
from secure_fl.errors import ConfigError
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.permitted import permit

EXPECTED = {
    *("a3fl", "adaptive_backdoor", "alie", "alternating_minimisation", "answer_backdoor"),
    *("backdoor", "bc_layers"),
    *("blended", "byzantine_gradient", "chameleon", "cheating_node", "clean_label"),
    *("constrain_and_scale", "cosine_hugging", "dba", "edge_case", "equivocation", "fang_krum"),
    *("fang_trim", "free_rider", "full_information_backdoor", "inf_nan", "ipm", "label_flip"),
    *("label_flip_all", "label_flip_dynamic", "lying_validator", "malformed_shares", "mimic"),
    *("min_max", "min_sum", "model_replacement", "mpaf", "neurotoxin", "none", "norm_hugging"),
    *("optimal_alie", "optimal_ipm", "pgd_backdoor", "poisonedfl", "random_noise"),
    *("reputation_gaming", "ring_wraparound", "root_poisoning", "sign_flip", "sybil"),
    *("tie_gaming", "tuning_aware_backdoor", "withheld_shares"),
}

# Parameters of attacks that compute for long, which the contract does not depend on.
QUICK = {
    "a3fl": {"steps": 2, "adapt_steps": 1},
    "answer_backdoor": {"steps": 2, "candidates": 2},
    "tuning_aware_backdoor": {"steps": 2, "candidates": 2},
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", attacks.names())
def test_contract(name, check):
    check(attacks.load(name, QUICK.get(name)))


def test_every_file_with_an_attack_is_found():
    assert set(attacks.names()) == EXPECTED
    files = Path(attacks.__file__).parent.glob("*.py")
    marked = {f.stem for f in files if re.search(r"^@attack$", f.read_text(), re.MULTILINE)}
    assert marked == EXPECTED


def test_every_attack_is_described():
    for name in attacks.names():
        line = first_line(attacks.find(name))
        assert 20 < len(line) <= 100


def test_public_names_resolve():
    assert all(hasattr(attacks, name) for name in attacks.__all__)


OUTSIDE = '''
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Mirror(Attack):
    """Send the trained update backwards."""
    factor: float = 1.0

    def craft(self, honest, own, view):
        return own * -self.factor

class Unmarked(Attack):
    """Lacks the decorator."""
'''


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module in the current directory, which is not on Python's path."""
    (tmp_path / "mirror_attack_module.py").write_text(OUTSIDE)
    (tmp_path / "broken_attack_module.py").write_text("import no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("outside")
def test_an_attack_from_outside_loads_and_passes_the_checks():
    name = "mirror_attack_module:Mirror"
    mirror = AttackConfig(name, {"factor": 2}).build(permit([name]))
    own = torch.ones(2, 3)
    assert torch.equal(mirror.craft(own, own, None), -2 * own)
    assert first_line(type(mirror)) == "Send the trained update backwards."
    check_attack(type(mirror))


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("no_such_module:X", {}, r"cannot import 'no_such_module'"),
        ("broken_attack_module:X", {}, r"no_such_package_at_all"),
        ("mirror_attack_module:Miror", {}, r"has no 'Miror' \(did you mean Mirror\?\); .*: Mirror"),
        ("mirror_attack_module:Unmarked", {}, r"is not marked with .* @attack"),
        ("mirror_attack_module:Mirror", {"facter": 1}, r"one of factor; got 'facter'"),
    ],
)
def test_refusals_from_outside(name, params, message):
    with pytest.raises(ConfigError, match=message):
        AttackConfig(name, params).build(permit([name]))


def test_a_table_of_marks_is_no_mark():
    assert not any(
        attacks.is_attack(thing) for thing in (attacks.registry._MARKED, {}, None, Attack)
    )


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        (
            "labelflip",
            {},
            r"attack must be one of a3fl, .*; got 'labelflip'",
        ),
        ("base", {}, r"got 'base'"),
        ("os:system", {}, r"got 'os:system'"),
        ("none", {"x": 1}, r"none \(it has no parameters\); got 'x'"),
        (
            "sign_flip",
            {"strength": "big"},
            r"sign_flip.strength must be of type float, finite; got 'big'",
        ),
        ("sign_flip", {"strength": 0}, r"strength must be > 0; got 0"),
        ("sign_flip", {"strength": True}, r"strength must be of type float, finite; got True"),
        ("label_flip", {"source_class": 0}, r"target_class must be different"),
        ("label_flip", {"source_class": 1.0}, r"source_class must be of type int; got 1.0"),
        ("backdoor", {"fraction": 1.5}, r"fraction must be in \(0, 1\]; got 1.5"),
        ("backdoor", {"columns": []}, r"columns must be distinct and at least one"),
        ("backdoor", {"columns": [1, 1]}, r"columns must be distinct"),
        ("backdoor", {"value": 2.0}, r"value must be in \[0, 1\]"),
        ("model_replacement", {"boost": -1.0}, r"boost must be > 0"),
        ("model_replacement", {"patch": 0}, r"patch must be >= 1"),
        ("min_max", {"direction": "up"}, r"min_max.direction must be of type .*; got 'up'"),
        ("ipm", {"epsilon": -1.0}, r"epsilon must be > 0"),
        ("random_noise", {"sigma": 0.0}, r"sigma must be > 0"),
        ("byzantine_gradient", {"strength": 0.0}, r"strength must be > 0"),
    ],
)
def test_refusals(name, params, message):
    with pytest.raises(ValueError, match=message):
        attacks.load(name, params)


@pytest.mark.parametrize(
    ("changes", "base", "message"),
    [
        ({}, object, "derive from"),
        (
            {"knowledge": "everything"},
            Attack,
            "knowledge must be own, .*got .everything",
        ),
        ({"objective": "fame"}, Attack, "have objective in"),
        ({"objective": "backdoor"}, Attack, "have `target_class`"),
        ({"__doc__": " "}, Attack, "have a docstring"),
    ],
)
def test_the_decorator_refuses_what_breaks_the_contract(changes, base, message):
    body = {"__doc__": "Some attack.", "__annotations__": {}} | changes
    with pytest.raises(TypeError, match=message):
        attack(dataclass(frozen=True)(type("Bad", (base,), body)))


def test_the_decorator_wants_a_frozen_dataclass():
    class Plain(Attack):
        """Not a dataclass."""

    with pytest.raises(TypeError, match="frozen=True"):
        attack(Plain)


# --- the checks catch what they are for


@dataclass(frozen=True)
class Careless(Attack):
    """Breaks one rule at a time."""

    objective: ClassVar[str] = "untargeted"
    how: str = "fine"

    def craft(self, honest, own, view):
        if self.how == "in place":
            return own.mul_(2)
        if self.how == "global random":
            return torch.randn(own.shape)
        if self.how == "shape":
            return own[0].clone()
        if self.how == "alone" and len(own) == view.num_hospitals:
            return own.log()
        if self.how == "refuses":
            return own * (1 / (view.num_hospitals - view.num_malicious))
        if self.how == "spread":
            return own / honest.std(dim=0, correction=0)
        return own / 0 if self.how == "infinite" else own.clone()

    def poison(self, x, y, view):
        if self.how == "poison in place":
            return x.zero_(), y.clone()
        if self.how == "range":
            return x + 1, y.clone()
        if self.how == "dtype":
            return x.double(), y.clone()
        if self.how == "poison random":
            return torch.rand(x.shape), y.clone()
        return x.clone(), y.clone()


@pytest.mark.parametrize(
    "how",
    [
        "in place",
        "global random",
        "shape",
        "alone",
        "refuses",
        "spread",
        "infinite",
        "poison in place",
        "range",
        "dtype",
        "poison random",
    ],
)
def test_check_attack_fails_a_careless_attack(how):
    with pytest.raises(AssertionError):
        check_attack(Careless, {"how": how})


def test_check_attack_passes_a_careful_one():
    @dataclass(frozen=True)
    class Careful(Attack):
        """Nothing."""

    check_attack(Careful)
