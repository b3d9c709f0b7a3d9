"""Matplotlib, imported whatever backend the environment names.

A notebook's commands inherit MPLBACKEND=module://matplotlib_inline.backend_inline, which matplotlib
refuses at its import where that module is not installed. Figures are drawn to memory here, which
needs no such backend; one that does exist stays the program's choice for its own figures.
"""

import contextlib
import os

_VARIABLE = "MPLBACKEND"
_named = os.environ.pop(_VARIABLE, None)
try:
    import matplotlib as mpl
finally:
    if _named is not None:
        os.environ[_VARIABLE] = _named
if _named:
    with contextlib.suppress(ValueError):  # it does not exist here, and nothing here asks for it
        mpl.rcParams["backend"] = _named

__all__ = ["mpl"]
