"""Compose an experiment from YAML groups and command-line overrides; refuse what does not fit.

Data sets, models and attacks are known by the names in their registries, and need no file here.
Hydra's compose API reads the groups (`model/ ledger/ experiment/`, and one preset a file in
`defence/`). Overrides of single values are applied to the typed tree, so each error
names its key, the rule and the value received. Nothing runs before the whole tree is checked.

Two lists are special. `attacks` and `defences` hold names of presets, or mappings that start from
a preset: `attacks=[sign_flip, {name: backdoor, params: {...}}]`. `attack=NAME` is short for a list
of one, and `attack.KEY=VALUE` sets KEY in every selected attack; likewise for `defence`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import attacks
from secure_fl import aggregation, data, models
from secure_fl.checks import check_name
from secure_fl.errors import ConfigError, InputError, near
from secure_fl.extensions import is_own
from secure_fl.files import write_atomic
from secure_fl.installed import resolve
from secure_fl.settings.attackers import AttackConfig, CompanionConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.overrides import Setting, parse_settings, refuse_lookups
from secure_fl.settings.permitted import permit
from secure_fl.settings.schema import ExperimentConfig, ModelConfig
from secure_fl.settings.yaml_file import read_mapping

GROUPS = ("data", "model", "ledger", "experiment")
# Groups whose choices have names in a registry; a file may add settings to one.
_REGISTERED: dict[str, Callable[[], list[str]]] = {
    "data": data.names,
    "model": models.names,
    "attack": attacks.names,
}
# Parameters of attacks that came after records were made without them, at their default.
_LATER = {"source_class": None}
# Kind of what a name given for a group stands for.
_KINDS = {"data": "dataset", "model": "model", "attack": "attack"}
# What stands before a key of an entry of a setting that is a list of mappings.
_LISTED: dict[Any, str] = {CompanionConfig: "attack.mixture, each entry's "}
ITEM_KINDS: dict[str, type] = {"attack": AttackConfig, "defence": DefenceConfig}


def config_root() -> Path:
    """Folder of the shipped YAML groups, in the repository or in an installed wheel."""
    spec = find_spec("secure_fl_configs")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    beside = Path(__file__).resolve().parents[2] / "configs"
    if beside.is_dir():
        return beside
    raise ConfigError("the shipped configuration is missing: reinstall the package")


def presets(group: str) -> dict[str, str]:
    """Names of the YAML files of a group, each with its one-line description."""
    found = {}
    for path in sorted((config_root() / group).glob("*.yaml")):
        tree = OmegaConf.load(path)
        found[path.stem] = str(tree.get("description", "")) if isinstance(tree, DictConfig) else ""
    return found


def choices(group: str) -> list[str]:
    """Names that a group's setting takes: from its registry, else those of its files."""
    return _REGISTERED[group]() if group in _REGISTERED else _preset_names(group)


def _preset_names(group: str) -> list[str]:
    return sorted(path.stem for path in (config_root() / group).glob("*.yaml"))


def load_config(overrides: Sequence[str] = (), allow: Sequence[str] = ()) -> ExperimentConfig:
    """Compose and check an experiment, for the person who wrote the overrides.

    Args:
        overrides: `group=NAME` or `key=value` (`secure_fl.settings.overrides`), later ones
            winning. Code of one's own that they name, `module:name`, is thereby permitted and
            imported.
        allow: further names to permit.

    Raises:
        ConfigError: a key, type, value or name that does not exist or is out of range.
    """
    parsed = [_resolved(setting) for setting in parse_settings(overrides)]
    chosen = {o.key: o.value for o in parsed if o.key in GROUPS}
    own = [o for o in parsed if o.key.split(".")[0] in ITEM_KINDS]
    values = [o for o in parsed if o.key not in GROUPS and o not in own]
    for group, name in chosen.items():
        if not (group in ("data", "model") and is_own(name)):
            check_name(group, name, choices(group))
    filed = [f"{key}={name}" for key, name in chosen.items() if name in _preset_names(key)]
    tree = _typed(ExperimentConfig, _compose("config", filed))
    if "data" in chosen:
        _update(tree, "data.name", chosen["data"], prefix="")
    if "model" in chosen and chosen["model"] not in _preset_names("model"):
        # Its name, and none of the default model's parameters.
        tree.model = OmegaConf.structured(ModelConfig(name=chosen["model"]))
    OmegaConf.set_struct(tree.model.params, False)  # its keys are checked by the model
    for override in values:
        _update(tree, override.key, override.value, prefix="")
    for kind, group in (("attack", "attacks"), ("defence", "defences")):
        entries = _entries(kind, tree[group], own)
        settings = [o for o in own if o.key.startswith(kind + ".")]
        if settings and not entries:
            raise ConfigError(f"{settings[0].key} needs {kind}=NAME: none is selected")
        tree[group] = [_item(kind, entry, settings) for entry in entries]
    config: ExperimentConfig = _built(tree)
    config.permit(permit([*config.own_names, *allow]))
    return config


def _resolved(setting: Setting) -> Setting:
    """A setting as typed, with `module:name` for what installed packages register."""
    group = setting.key.removesuffix(".name")
    if group in ("data", "model") and isinstance(setting.value, str):
        return Setting(setting.key, resolve(_KINDS[group], setting.value, _REGISTERED[group]()))
    return Setting(setting.key, _meant_below(setting.key, setting.value))


def _meant(kind: str, name: str, presets: list[str]) -> str:
    """What the name of an attack or a defence stands for.

    Raises:
        ConfigError: no name that ships or is installed, where a file here is called so.
    """
    if name in presets:
        return name
    ships = attacks.names() if kind == "attack" else aggregation.rule_names()
    meant = resolve("attack", name, ships) if kind == "attack" else aggregation.resolve_rule(name)
    stem = name.removesuffix(".py")
    if meant == name and name not in ships and stem.isidentifier() and Path(f"{stem}.py").is_file():
        what = "class" if kind == "attack" else "function"
        raise ConfigError(
            f"{kind} {name!r} is a file here: name the {what} in it too, as {kind}={stem}:NAME"
        )
    return str(meant)


def _meant_below(key: str, value: Any) -> Any:
    """The same within a setting: a defence's rule, or the attacks of a mixture."""
    if key == "defence.rule":
        return aggregation.resolve_rule(value)
    if key == "attack.mixture" and isinstance(value, list):
        return [
            {**each, "name": _meant("attack", each["name"], [])}
            if isinstance(each, dict) and isinstance(each.get("name"), str)
            else each
            for each in value
        ]
    return value


def load_defence(name: str) -> DefenceConfig:
    """Read one shipped defence as it stands."""
    return named_defence(name)


def named_attack(name: str) -> AttackConfig:
    """A shipped attack, or `module:Class`, as on the command line.

    Raises:
        ConfigError: no such name.
    """
    attack: AttackConfig = _item("attack", name, [])
    return attack


def named_defence(name: str) -> DefenceConfig:
    """A shipped defence, a rule's name, or `module:function`, as on the command line.

    Raises:
        ConfigError: no such name.
    """
    defence: DefenceConfig = _item("defence", name, [])
    return defence


def attack_params(name: str) -> dict[str, Any]:
    """All parameters of a shipped attack at their defaults, as records have them; else none."""
    if name not in attacks.names():
        return {}
    defaults = {field.name: field.default for field in fields(attacks.find(name)) if field.init}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in defaults.items()
        if value is not MISSING and not (key in _LATER and value == _LATER[key])
    }


def save_config(config: ExperimentConfig, path: Path) -> None:
    """Write the complete checked settings as YAML; `read_config` restores the same object."""
    write_atomic(path, OmegaConf.to_yaml(OmegaConf.structured(config)).encode())


def read_config(path: Path) -> ExperimentConfig:
    """Read what `save_config` wrote, as data: nothing is imported and nothing is looked up.

    The settings may come from anybody. Code of somebody's own stands in them as a name;
    `ExperimentConfig.permit` then takes what the person who runs this permits.

    Raises:
        ConfigError: not the settings of a run, or one that holds `${`.
    """
    try:
        loaded = read_mapping(path)
    except InputError as error:
        raise ConfigError(str(error)) from error
    refuse_lookups(loaded)
    tree = _typed(ExperimentConfig, OmegaConf.create(loaded))
    for kind, group in (("attack", "attacks"), ("defence", "defences")):
        for entry in tree[group]:
            if not isinstance(entry, DictConfig):
                raise ConfigError(f"{path}: {group} must be a list of mappings; got {entry!r}")
        tree[group] = [
            _typed(ITEM_KINDS[kind], entry, prefix=f"{group}: ") for entry in tree[group]
        ]
    config: ExperimentConfig = _built(tree)
    return config


def _compose(name: str, overrides: Iterable[str] = ()) -> Any:
    """Compose one shipped file with its defaults and the chosen groups."""
    return deepcopy(_composed(config_root(), name, tuple(overrides)))


@cache
def _composed(root: Path, name: str, overrides: tuple[str, ...]) -> Any:
    """What Hydra makes of the files; kept, since it takes a tenth of a second each time."""
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(root)):
            return compose(name, overrides=list(overrides))
    except HydraException as error:
        raise ConfigError(f"cannot compose {name!r}: {error}") from error


def _entries(kind: str, listed: Any, own: list[Setting]) -> list[Any]:
    """Selected presets of one kind: the last `kind=NAME` wins over the list of the experiment."""
    chosen = [o.value for o in own if o.key == kind]
    if chosen:
        return [chosen[-1]]
    return list(OmegaConf.to_object(listed))  # type: ignore[arg-type]


def _item(kind: str, entry: Any, settings: list[Setting]) -> Any:
    """Resolve one entry of a list: preset, then its own mapping, then `kind.KEY=VALUE`.

    A defence's mapping may say what it is `called`, so that variants stand beside each other.
    """
    mapping = dict(entry) if isinstance(entry, dict) else {"name": entry}
    called = mapping.pop("called", None) if kind == "defence" else None
    written = mapping.get("name")
    if not isinstance(written, str):
        raise ConfigError(f"{kind} must be a name or a mapping with a name; got {entry!r}")
    shipped = _preset_names(kind)
    name = _meant(kind, written, shipped)
    mapping = {key: _meant_below(f"{kind}.{key}", value) for key, value in mapping.items()}
    if name in shipped:
        tree = _typed(ITEM_KINDS[kind], _compose(f"{kind}/{name}")[kind])
    elif kind == "attack":
        tree = _typed(AttackConfig, {"name": name, "params": attack_params(name)})
    elif is_own(name):
        own = {"name": name.rpartition(":")[2], "rule": name, "reference": True}
        tree = _typed(DefenceConfig, own)
    elif name in aggregation.rule_names():
        # A bare rule, in the clear; whether it wants a root direction is not known here.
        tree = _typed(DefenceConfig, {"name": name, "rule": name, "reference": True})
    elif "rule" in mapping:
        # Whole by itself, as in a run's settings, where a variant has a name of its own.
        tree = _typed(DefenceConfig, {"name": name})
    else:
        aggregation.check_not_left_out(name)
        allowed = sorted({*shipped, *aggregation.rule_names()})
        raise ConfigError(
            f"defence must be one of {', '.join(allowed)}, or module:function of yours; "
            f"got {name!r}{near(name, allowed)}"
        )
    prefix = f"{kind}."
    if called is not None:
        _update(tree, "name", called, prefix)
        _update(tree, "label", "", prefix)  # its own, where the mapping has one
    _change_rule(kind, tree, mapping)
    for key, value in mapping.items():
        if key != "name":
            _update(tree, str(key), value, prefix)
    written_over = {override.key.removeprefix(prefix): override.value for override in settings}
    _change_rule(kind, tree, written_over)
    for override in settings:
        _update(tree, override.key.removeprefix(prefix), override.value, prefix)
    return _built(tree)


def _change_rule(kind: str, tree: DictConfig, changes: Mapping[str, Any]) -> None:
    """Drop a preset's parameters of its rule where another rule takes its place."""
    if kind == "defence" and "rule" in changes and changes["rule"] != tree["rule"]:
        tree["params"] = {}


def _built(tree: DictConfig) -> Any:
    """The checked object; a mandatory value left out, or an interpolation, is refused."""
    try:
        return OmegaConf.to_object(tree)
    except MissingMandatoryValue as error:
        place = _LISTED.get(error.object_type, "")
        raise ConfigError(f"{place}{error.key} must be given") from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def _typed(schema: type, tree: Any, prefix: str = "") -> DictConfig:
    """Merge an untyped tree into a schema; the merge refuses unknown keys and wrong types."""
    typed = OmegaConf.structured(schema)
    try:
        return OmegaConf.merge(typed, tree)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        _refuse(error, typed, prefix)


def _update(tree: DictConfig, key: str, value: Any, prefix: str) -> None:
    parent = key.rpartition(".")[0]
    if parent and isinstance(OmegaConf.select(tree, parent), ListConfig):
        raise ConfigError(f"{prefix}{parent} is a list, set whole: {prefix}{parent}=[...]")
    try:
        OmegaConf.update(tree, key, value, merge=True)
    except OmegaConfBaseException as error:
        _refuse(error, tree, prefix)


def _refuse(error: OmegaConfBaseException, tree: DictConfig, prefix: str) -> NoReturn:
    """Turn OmegaConf's error into one that names the key and what is allowed there."""
    key = str(error.full_key or "")
    if not key:  # a section that holds a single value says no more
        raise ConfigError(f"a section of the settings must be a mapping: {error.msg}") from error
    parent, _, last = re.sub(r"\[\d+\]$", "", key).rpartition(".")
    schema = _schema_at(tree, parent)
    if error.object_type in _LISTED:  # within an entry, of which the key alone is told
        schema, parent, prefix, key = error.object_type, "", _LISTED[error.object_type], last
    allowed = {f.name: str(f.type) for f in fields(schema)} if is_dataclass(schema) else {}
    if last not in allowed:
        place = prefix + (parent + "." if parent else "")
        listed = schema in _LISTED
        hint = near(last, allowed).replace("mean ", "mean " if listed else f"mean {place}")
        names = ", ".join([*allowed, *(ITEM_KINDS if not (parent or prefix) else ())])
        raise ConfigError(f"unknown key {prefix}{key}{hint}; allowed here: {names}") from error
    # None stands for a null that is not allowed, and for a value the library does not tell.
    kind = allowed[last] if key.endswith(last) else allowed[last][len("list[") : -1]
    kind = re.sub(r"\w+Config\b", _keys_of, kind)
    raise ConfigError(f"{prefix}{key} must be of type {kind}; got {error.value!r}") from error


def _keys_of(written: re.Match[str]) -> str:
    """The class of a list's entries, in the type of a setting, as the keys that an entry has."""
    named = {schema.__name__: schema for schema in _LISTED}
    schema = named.get(written[0])
    return written[0] if schema is None else f"{{{', '.join(f.name for f in fields(schema))}}}"


def _schema_at(tree: DictConfig, key: str) -> Any:
    node = OmegaConf.select(tree, key) if key else tree
    return OmegaConf.get_type(node)
