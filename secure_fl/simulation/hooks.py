"""An attack of somebody's own that fails: the error names its hook and the line."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from attacks import Attack
from secure_fl.errors import MISTAKES, ConfigError, SecureFLError


class HookFailed(ConfigError):
    """A hook of somebody's own attack raised; the message names attack, hook, line and error.

    Args:
        attack: whose hook.
        where: the hook, with the line where that is known.
        error: what was raised.
        place: in which circumstances, for the message.
    """

    def __init__(self, attack: Attack, where: str, error: Exception, place: str = "") -> None:
        told = f", {place}" if place else ""
        super().__init__(f"attack {attack}{told}, in {where}: {type(error).__name__}: {error}")
        self._given = attack, where, error

    def at(self, place: str) -> HookFailed:
        """The same, with the circumstances in its message."""
        return HookFailed(*self._given, place)


@contextmanager
def hook(attack: Attack, name: str) -> Iterator[None]:
    """Call a hook of an attack in this block.

    Errors of the attacks that ship pass as they are: they speak of parameters.

    Raises:
        HookFailed: an attack of somebody's own made a mistake.
    """
    try:
        yield
    except SecureFLError:
        raise
    except MISTAKES as error:
        if type(attack).__module__.partition(".")[0] == "attacks":
            raise
        raise HookFailed(attack, name + _line(attack, name, error), error) from error


def _line(attack: Attack, name: str, error: Exception) -> str:
    """The last line within the file of a hook at which an error passed, for a message."""
    made = inspect.unwrap(getattr(type(attack), name))
    file = made.__code__.co_filename if inspect.isfunction(made) else None
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({PurePath(file).name}, line {lines[-1]})" if file is not None and lines else ""
