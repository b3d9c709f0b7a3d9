"""First docstring lines, for listings; from the source where Python was told to drop docstrings."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from types import ModuleType
from typing import Any


def docstring(value: Any) -> str:
    """The docstring of a module, class or function as it is written; empty without one.

    `python -OO` drops docstrings, and dataclasses then put their signature in the place.
    """
    kept = inspect.cleandoc(value.__doc__ or "")
    if sys.flags.optimize < 2:
        return kept
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError):  # no source: made at run time, or in a notebook
        return kept
    node = tree if isinstance(value, ModuleType) else tree.body[0]
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    return (ast.get_docstring(node) if isinstance(node, documented) else None) or kept


def first_line(value: Any) -> str:
    """The first line of a docstring; a dash without one."""
    lines = docstring(value).splitlines()
    return lines[0].strip() if lines else "-"
