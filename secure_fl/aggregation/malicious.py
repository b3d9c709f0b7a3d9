"""How many malicious rows a stage bears: its parameter `num_malicious`, the same everywhere."""

from __future__ import annotations

from typing import NamedTuple

from secure_fl.counts import MOST_HOSPITALS
from secure_fl.errors import require


class Borne(NamedTuple):
    """A stage that bears f malicious rows among at least `each` f + `beside`.

    Attributes:
        num_malicious: f; None for the largest number that the rows in play allow.
        each, beside: see above.
    """

    num_malicious: int | None
    each: int
    beside: int

    @property
    def needs(self) -> int:
        """Fewest rows; 1 where f adapts to them."""
        return 1 if self.num_malicious is None else self.each * self.num_malicious + self.beside

    def among(self, rows: int) -> int:
        """f among so many rows."""
        if self.num_malicious is not None:
            return self.num_malicious
        return max((rows - self.beside) // self.each, 0)


def borne(num_malicious: int | None, each: int = 2, beside: int = 1) -> Borne:
    """Check the parameter.

    Raises:
        InputError: it is negative, or more than a federation has hospitals.

    Example:
        >>> borne(None, 2, 3).among(20), borne(6, 2, 3).needs
        (8, 15)
    """
    good = num_malicious is None or 0 <= num_malicious <= MOST_HOSPITALS
    rule = f"None or from 0 to {MOST_HOSPITALS}"
    require(good, "num_malicious", rule, num_malicious)
    return Borne(num_malicious, each, beside)
