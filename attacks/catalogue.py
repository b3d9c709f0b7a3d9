"""The page of all attacks, made of what their classes say: `python -m attacks.catalogue`."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from attacks import privacy
from attacks.base import Attack, overrides
from attacks.registry import find, names
from attacks.view import knowledge_of

HOOKS = (
    *("poison", "constrain", "project", "craft", "encode", "misbehave"),
    *("poison_public", "testify", "corrupt"),
)
_HEAD = """\
# Attacks

Made by `python -m attacks.catalogue` from the classes in `attacks/`; a test holds it to them. What
an attack may know and change, [extending.md](extending.md) explains: one that knows "nothing" has
the rows and updates of its own hospitals alone. Each file has the formula, the parameters and what
differs from its source.

`ipm`, `optimal_ipm`, `mimic` with a victim and `inf_nan` send what ByzFL 0.0.11's attacks send, to
1e-6. Its `SignFlipping` is `ipm` with epsilon 1; its `ALittleIsEnough` and the optimal one go along
+s where `alie` and `optimal_alie` go along -s, and its s is that of n - 1 for both
(`tests/attacks/test_byzfl_attacks.py`).

| Attack | What it does | Knows | Hooks | Success | Defaults | Source |
|---|---|---|---|---|---|---|
"""

_PRIVACY = """
## On privacy

Who reads what is opened asks for rows; `attacks.privacy.load(name)` builds such an attack, and
`secure-fl privacy` shows what it learns from one update, the aggregate and the final model, with
and without clip and noise. They are no attacks of a run. The sum of few rows hides little: where
each of five hospitals takes one step on a single row, the opened mean of five updates gives them
nearly back.

| Attack | What it does | Asks | Defaults | Source |
|---|---|---|---|---|
"""


def page() -> str:
    """The page in Markdown, one row an attack."""
    reading = "".join(f"{_reading(name)}\n" for name in privacy.names())
    return _HEAD + "".join(f"{_row(name, find(name))}\n" for name in names()) + _PRIVACY + reading


def _reading(name: str) -> str:
    """The row of an attack on privacy."""
    cls = privacy.find(name)
    text = inspect.getdoc(cls) or ""
    asks = "which rows" if issubclass(cls, privacy.Reconstruction) else "whether these rows"
    line = text.splitlines()[0]
    return " | ".join(["", f"`{name}`", line, asks, _defaults(cls), source(text), ""]).strip()


def _defaults(cls: Any) -> str:
    return ", ".join(f"{f.name}={_shown(f.default)}" for f in fields(cls)) or "none"


def _row(name: str, cls: type[Attack]) -> str:
    attack = cls()
    known = ", ".join(sorted(knowledge_of(cls.knowledge))) or "nothing"
    hooks = [hook for hook in HOOKS if overrides(attack, hook)]
    if cls.every_round:
        hooks[hooks.index("poison")] = "poison, every round"
    if overrides(attack, "init") or overrides(attack, "prepare"):
        hooks.append("remembers")
    text = inspect.getdoc(cls) or ""
    cells = (
        f"`{name}`",
        text.splitlines()[0].replace("|", "\\|"),
        known,
        ", ".join(hooks) or "none",
    )
    return " | ".join(["", *cells, cls.objective, _defaults(cls), source(text), ""]).strip()


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def source(text: str) -> str:
    """Where an attack comes from: what follows `Ref:` or `After` in its docstring, or its own."""
    flat = " ".join(text.split("Attributes:")[0].split())
    found = re.search(r"(?:Ref: |After )(.*?(?:19|20)\d\d[^.;]*(?:\.\d+[^.;]*)*)", flat)
    if found:
        return _closed(re.split(r", (?:who|on|for|with(?:out)?) ", found[1])[0]).strip()
    known = re.search(r"Ref: ([^.]*)\.", flat)
    if known:
        return known[1]
    return "the baseline" if text.startswith("No attack") else "own"


def _closed(text: str) -> str:
    """A text without a bracket at its end that is left open."""
    return text if text.count("(") == text.count(")") else text[: text.rindex("(")]


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "attacks.md").write_text(page())
