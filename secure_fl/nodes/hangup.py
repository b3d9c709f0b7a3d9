"""Whether anybody still wants to know why a party of a run cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secure_fl.errors import NodeFailure
from secure_fl.mpc.transport import Channel


class HungUp(Exception):
    """The starter has let go of the party: what fails then is a consequence, and no news."""


@contextmanager
def unless_hung_up(control: Channel) -> Iterator[None]:
    """Let a failure pass as it is while the channel to the starter is open.

    A starter that ends its parties at once closes these channels first
    (`secure_fl.backends.processes.kill`); parties that then lose each other have nothing to say.

    Raises:
        HungUp: a `NodeFailure` came out of the block and the starter is gone.
    """
    try:
        yield
    except NodeFailure as failure:
        if control.hung_up():
            raise HungUp from failure
        raise
