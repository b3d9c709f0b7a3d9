"""Write the templates of one kind into a folder under a name of the user's."""

from __future__ import annotations

import io
import keyword
import re
import sys
import tokenize
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import attacks
from secure_fl.aggregation import rule_names
from secure_fl.data import registry as data_registry
from secure_fl.errors import InputError, require
from secure_fl.models import registry as model_registry

# Each kind's settings that use it, {name} and {cls} to be filled in.
KINDS = {
    "attack": "attack={name}:{cls}",
    "rule": "defence={name}:{name} attack=sign_flip",
    "data": "data={name}:{name} data.hospitals=4 attack=sign_flip",
    "model": "model={name}:{name}",
}
OURS = ("attacks", "configs", "eval", "ledger", "secure_fl", "secure_fl_configs", "tests")


class Scaffold(NamedTuple):
    """What was written.

    Attributes:
        module: the file with the code.
        test: the file with its test.
        settings: what `secure-fl run` takes to use it.
    """

    module: Path
    test: Path
    settings: str


def write_scaffold(kind: str, name: str, folder: Path) -> Scaffold:
    """Write `NAME.py` and `test_NAME.py`, both or neither.

    Args:
        kind: "attack", "rule", "data" or "model".
        name: of the module; a class has it in capitals, `my_attack` -> `MyAttack`.
        folder: an existing folder.

    Raises:
        InputError: a name that cannot be a module's or would stand in for another module, or a file
            that is there already.
        OSError: the folder cannot be written to.
    """
    require(kind in KINDS, "kind", f"one of {', '.join(KINDS)}", kind)
    _check_name(name)
    target = Scaffold(
        folder / f"{name}.py",
        folder / f"test_{name}.py",
        KINDS[kind].format(name=name, cls=class_name(name)),
    )
    for path in (target.module, target.test, folder / name):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path.name} is there already; choose another name")
    found = find_spec(name)
    if found is not None:
        place = found.origin or "built in"
        raise InputError(f"name must be none of another module, as {place} is; got {name!r}")
    shipped = name in _shipped(kind)
    require(not shipped, "name", f"none that ships ({kind}), which it would be taken for", name)
    texts = {
        target.module: _filled(kind, f"my_{kind}.py", name),
        target.test: _filled(kind, f"test_my_{kind}.py", name),
    }
    made: list[Path] = []
    try:
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except BaseException:  # of Ctrl-C too
        for path in made:
            path.unlink()
        raise
    return target


def _shipped(kind: str) -> list[str]:
    """Names of a kind that need no module."""
    ours = {
        "attack": attacks.names,
        "rule": rule_names,
        "data": data_registry.names,
        "model": model_registry.names,
    }
    return ours[kind]()


def class_name(name: str) -> str:
    """The name of a class after that of its module."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _check_name(name: str) -> None:
    good = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
    require(good, "name", "letters, digits and underscores, a letter first", name)
    require(len(name) <= 64, "name", "at most 64 letters long", name)
    reserved = keyword.iskeyword(name) or keyword.issoftkeyword(name)
    require(not reserved, "name", "no keyword of Python", name)
    test = name.startswith("test_") or name in ("test", "conftest")
    require(not test, "name", "none that pytest would take for a test", name)
    require(name not in sys.stdlib_module_names, "name", "none of Python's own modules", name)
    require(name not in OURS, "name", "none of secure-fl's packages", name)


def _filled(kind: str, template: str, name: str) -> str:
    """A template under the user's name.

    Raises:
        InputError: the name stands for something else in it.
    """
    text = (files("eval.scaffold") / "templates" / template).read_text(encoding="utf-8")
    old = f"my_{kind}"
    words = {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME and token.string not in (old, class_name(old))
    }
    for word in (name, class_name(name)):
        require(
            word not in words, "name", f"another: {word} means something in the file already", name
        )
    return text.replace(old, name).replace(class_name(old), class_name(name))
