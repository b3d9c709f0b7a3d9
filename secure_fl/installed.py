"""Names that installed packages give to code of theirs, by entry points.

A package that was installed beside this one registers, say, `storm = "storm_pkg.attack:Storm"` in
the group `secure_fl.attacks`. The name then stands for `storm_pkg.attack:Storm` where a person
writes it, on the command line or in a call, and permits it as that would be permitted. Records hold
`storm_pkg.attack:Storm`: a name in a run's folder is never looked up here. Looking up reads the
packages' metadata and imports nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, NamedTuple

from secure_fl.errors import ConfigError
from secure_fl.imports import NAME

# Group of entry points by the kind of what is in it.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "attack": "secure_fl.attacks",
        "rule": "secure_fl.rules",
        "stage": "secure_fl.stages",
        "dataset": "secure_fl.datasets",
        "model": "secure_fl.models",
    }
)


class Installed(NamedTuple):
    """One name that a package registers.

    Attributes:
        kind: of `GROUPS`.
        name: as people write it.
        target: what it stands for; `module:name` if the package is well made.
        package: the distribution and its version.
    """

    kind: str
    name: str
    target: str
    package: str


def installed(kind: str) -> list[Installed]:
    """What installed packages register, by name."""
    return list(_installed(kind, tuple(sys.path)))


@cache
def _installed(kind: str, path: tuple[str, ...]) -> tuple[Installed, ...]:
    """Kept for as long as Python's path is the same; reading all metadata takes some 50 ms."""
    found = set()
    for point in entry_points(group=GROUPS[kind]):
        made_by = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
        found.add(Installed(kind, point.name, point.value.replace(" ", ""), made_by))
    return tuple(sorted(found))


def resolve(kind: str, name: str, shipped: Collection[str]) -> str:
    """What a name that a person wrote stands for.

    Args:
        kind: of `GROUPS`.
        name: any; one that no package registers comes back as it is.
        shipped: names that ship, which no package may take.

    Returns:
        `module:name` for one that a package registers.

    Raises:
        ConfigError: the package takes a name that ships, or that another one registers, or
            registers something else than `module:name`.
    """
    claims = [each for each in installed(kind) if each.name == name]
    if not claims:
        return name
    flaw = why_refused(claims[0], shipped)
    if flaw:
        raise ConfigError(f"{kind} {name!r} {flaw}")
    return claims[0].target


def why_refused(claim: Installed, shipped: Collection[str]) -> str:
    """What is wrong with a registered name, for people; empty if nothing is."""
    direct = f"name what you mean as module:name, {claim.target}, or uninstall it"
    if NAME.fullmatch(claim.target) is None:
        return f'of {claim.package} must stand for "module:name"; it does for {claim.target!r}'
    if claim.name in shipped:
        return f"ships, and {claim.package} registers another under that name: {direct}"
    rivals = [each for each in installed(claim.kind) if each.name == claim.name]
    if len({each.target for each in rivals}) > 1:
        listed = " and ".join(f"{each.package} ({each.target})" for each in rivals)
        return f"is registered by {listed}: name what you mean as module:name"
    return ""


def resolve_permitted(name: str) -> list[str]:
    """What a person who permits a name means: all that it stands for, of any kind.

    One that no package registers comes back as it is.
    """
    found = [each.target for kind in GROUPS for each in installed(kind) if each.name == name]
    return list(dict.fromkeys(found)) or [name]


def resolve_stages(rule: Mapping[str, Any], shipped: Collection[str]) -> dict[str, Any]:
    """A pipeline as data with `module:name` for the stages that packages register.

    Raises:
        ConfigError: see `resolve`.
    """
    listed = rule.get("stages")
    if not isinstance(listed, list | tuple):
        return dict(rule)  # refused where it is read

    def named(entry: Any) -> Any:
        if isinstance(entry, str):
            return resolve("stage", entry, shipped)
        if isinstance(entry, Mapping):
            return {
                resolve("stage", key, shipped) if isinstance(key, str) else key: value
                for key, value in entry.items()
            }
        return entry

    return {**rule, "stages": [named(entry) for entry in listed]}
