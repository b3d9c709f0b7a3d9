"""Every rule of the library on CrypTen tensors, beside the same integers in the clear."""

from __future__ import annotations

from typing import Any

import torch

import secure_fl
from secure_fl.aggregation import build_rule, rule_names
from secure_fl.errors import InputError
from secure_fl.mpc.compat import import_crypten
from tests.support.oracles import case

crypten = import_crypten()

from secure_fl.mpc import functions as F  # noqa: E402


def whole(tensor: Any) -> list[int]:
    """What a CrypTen tensor holds, in steps of 2^-16."""
    steps: list[int] = tensor._tensor.reveal().tolist()
    return steps


def rules() -> dict[str, Any]:
    """Which rules gave other bits than `fixed`; by three parties, one rule in four."""
    size = crypten.communicator.get().get_world_size()
    names = rule_names()[:: 4 if size > 2 else 1]
    different = [name for k, name in enumerate(names) if differs(name, 6 + k % 2)]
    return {"tried": len(names), "different": different, "refused": refused()}


def differs(name: str, n: int) -> bool:
    """Two rounds of a rule, the second with the first one's outcome and states."""
    x, reputation, root = case("plain", n, 5, seed=n)
    public = {"reputation": reputation, "reference": root, "model": root}
    session = secure_fl.open_backend("fixed").session(name, n, 5)
    clear: Any = None
    states = None
    wrong = False
    for number in (1, 2):
        last = None if clear is None else clear.update
        turned = x if number == 1 else x[::-1].copy()
        shared = crypten.cryptensor(torch.tensor(turned), src=0)
        given = {**public, "seed": bytes([number]) * 32}
        found = F.aggregate(shared, name, **given, last=last, number=number, states=states)
        clear = session.aggregate(session.submit(turned), **given)
        states = found.states
        # Divided by a public count in the clear, and rounded to a step here.
        update = torch.floor(clear.update * 2**16 + 0.5).to(torch.int64).tolist()
        accepted = (clear.accepted.to(torch.int64) * 2**16).tolist()
        wrong |= whole(found.update) != update or whole(found.accepted) != accepted
        wrong |= tuple(found.opened) != build_rule(name).opens[:-1]
    return wrong


def refused() -> dict[str, str]:
    """What calls that cannot be right say."""
    x = crypten.cryptensor(torch.ones(3, 2))
    calls = {
        "x must be an MPCTensor": lambda: F.aggregate(torch.ones(3, 2), "median"),
        "x's shape must be (n, d)": lambda: F.aggregate(x[0], "median"),
        "seed must be 32 bytes": lambda: F.aggregate(x, "bucketing", seed=b"7"),
        "minimum must be at least 1": lambda: F.aggregate(x, "median", minimum=0),
        "the rule cannot bear": lambda: F.aggregate(x, build_rule("phocas", num_malicious=2)),
    }
    said = {}
    for rule, call in calls.items():
        try:
            call()
        except InputError as error:
            said[rule] = str(error)
    return said
