"""What a rule may open: declared by its stages, held to here, written down as it happens.

`Ops.open` is the only way out of the shared world. It asks an `Exits`, which knows what the stage
that runs has declared, and refuses everything else before a share is sent: another name, another
order, another shape, a number for a bit, a second time. The permit that it gives is what the ring
wants to see before it opens anything without a mask.

A stage is Python code in the node's process. This holds a stage to its word that errs or forgets;
one that means harm can reach the network itself. Whose stages run is decided by who starts a node.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from secure_fl.errors import InputError, require
from secure_fl.types import Opening

UPDATE = "update"
AXES = ("row", "coordinate")

FRACTION_BITS = 16
"""Fractional bits of an encoded update (CrypTen's default)."""

UNIT = 2.0**-FRACTION_BITS
"""Step of an encoded coordinate, below which no update leaves."""


@dataclass(frozen=True)
class Opens:
    """One value that a stage opens, as the stage declares it; by default a flag for every row.

    Attributes:
        name: under which it is recorded.
        axes: of its shape: "row" stands for the m rows in play when the stage begins,
            "coordinate" for d; empty for a single number, shape (1,).
        unit: for numbers, the step in which they leave: what is finer is rounded down before it is
            opened. None for bits.
    """

    name: str
    axes: tuple[str, ...] = ("row",)
    unit: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.name), "name of an opening", "given", self.name)
        require(set(self.axes) <= set(AXES), "axes", f"of {AXES}", self.axes)
        require(self.unit is None or self.unit > 0, "unit", "None or positive", self.unit)

    def opening(self, rows: int, dim: int) -> Opening:
        """What is opened with so many rows in play and so many coordinates."""
        sizes = {"row": rows, "coordinate": dim}
        return Opening(self.name, tuple(sizes[axis] for axis in self.axes) or (1,), self.unit)


THE_UPDATE = Opens(UPDATE, ("coordinate",), UNIT)


class Exits:
    """What one aggregation may still open, and what it has opened.

    Attributes:
        opened: in order.
        values: copies, by name.
        digests: SHA-256 of each value when it was opened, by name (`digest`), if hashed.

    Args:
        hashes: whether to hash each.
    """

    def __init__(self, hashes: bool = True) -> None:
        self._hashes = hashes
        self.opened: list[Opening] = []
        self.values: dict[str, torch.Tensor] = {}
        self.digests: dict[str, str] = {}
        self._due: deque[Opening] = deque()
        self._current: Permit | None = None

    def allow(self, declared: Sequence[Opens], rows: int, dim: int) -> None:
        """Let a stage open what it declares, in this order, with `rows` in play."""
        self._due = deque(each.opening(rows, dim) for each in declared)

    def permit(self, name: str, shape: tuple[int, ...], is_bit: bool) -> Permit:
        """Let the next declared value out, if this is it.

        Raises:
            InputError: nothing, or something else, is declared to be opened now.
        """
        if not self._due:
            raise InputError(f"{name!r} must be declared to be opened here; nothing is (any more)")
        due = self._due[0]
        require(name == due.name, "name of the opening", f"the declared {due.name!r}", name)
        require(name not in self.values, "opening", "a value not opened before", name)
        require(tuple(shape) == due.shape, f"shape of {name!r}", f"{due.shape}", tuple(shape))
        kind = "bits, as declared" if due.unit is None else "numbers, as declared"
        require(is_bit == (due.unit is None), f"kind of {name!r}", kind, f"is_bit={is_bit}")
        self._due.popleft()
        self._current = Permit(self, due)
        return self._current

    def spend(self, permit: Permit) -> None:
        """Take a permit in, once.

        Raises:
            InputError: it is not the one given out last, or is spent.
        """
        current, self._current = self._current, None
        if permit is not current:
            raise InputError("a secret is opened by name, as declared: ops.open(name, secret)")

    def record(self, permit: Permit, value: torch.Tensor) -> None:
        """Write down what has been opened."""
        name = permit.opening.name
        self.opened.append(permit.opening)
        self.values[name] = value.clone()
        if self._hashes:
            self.digests[name] = digest(value)

    def finish(self, declared: Sequence[Opens], rows: int, dim: int, since: int) -> None:
        """Compare what a stage opened, from the record `since` on, with what it declared.

        Raises:
            InputError: it opened less, or more.
        """
        wanted = [each.opening(rows, dim) for each in declared]
        got = self.opened[since:]
        require(got == wanted, "openings of the stage", f"as declared, {wanted}", got)
        self._due.clear()

    def nothing_combined(self, dim: int) -> torch.Tensor:
        """Record the public zero that stands for the update; return it."""
        zero = torch.zeros(dim, dtype=torch.float64)
        self.record(Permit(self, THE_UPDATE.opening(0, dim)), zero)
        return zero


@dataclass(frozen=True, eq=False)
class Permit:
    """Leave to open one value, once."""

    exits: Exits
    opening: Opening

    def spend(self, shape: tuple[int, ...], is_bit: bool) -> None:
        """Use it for a value of this shape and kind; see `Exits.spend`.

        Raises:
            InputError: the permit is not for such a value, not the one given out last, or spent.
        """
        name, wanted = self.opening.name, (self.opening.shape, self.opening.unit is None)
        rule = f"for shape and is_bit {wanted}, as permitted"
        require((shape, is_bit) == wanted, f"what is opened as {name!r}", rule, (shape, is_bit))
        self.exits.spend(self)


def digest(value: torch.Tensor) -> str:
    """SHA-256 of a value as float64, little-endian, in row-major order."""
    array = value.detach().to(torch.float64).contiguous().numpy().astype("<f8")
    return hashlib.sha256(array.tobytes()).hexdigest()
