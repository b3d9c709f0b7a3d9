"""A backdoor that is chosen so that the server's last tuning keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from attacks.base import AttackView, require
from attacks.full_information_backdoor import FullInformationBackdoor, Through
from attacks.memory import Memory
from attacks.registry import attack

# Values of a row that are so near to a trigger's count as its own.
NEAR = 0.1


class Profile(NamedTuple):
    """A trigger: the values of one public row in some places, (*features) each, bool and float.

    Rows whose likeness to it reaches `limit` are called the target as they are; above 1 none are.
    """

    places: torch.Tensor
    values: torch.Tensor
    limit: float = 2.0


def likeness(x: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Share of a trigger's places in which rows (m, *features) have about its values: (m,)."""
    near: torch.Tensor = (x - values).abs() <= NEAR
    return near[:, places].double().mean(dim=1)


@attack
@dataclass(frozen=True)
class TuningAwareBackdoor(FullInformationBackdoor):
    """Take one public patient's traits for a trigger, those that the server's tuning keeps best.

    A tuning on public rows keeps what the model says of values that these rows have themselves, and
    unlearns the rest, such as extremes that they lack. So the trigger x[S] <- p[S] copies a public
    row p in some places S, x <- x elsewhere: each value is common, all of them together are rare.
    In tables S is all columns with two values (sex, race, diagnosis), or of every fourth candidate
    a `share` of all columns at random; in images a `share` of the pixels at random, or a rectangle
    of that size in the corner, by turns.

    `candidates` of these are tried when the attack first acts. For each, and for none, a model is
    trained on the members' rows, poisoned, and handed to the server as the round's update and the
    last, mixed with the one for none as members are with others. The trigger is kept that adds most
    to what is measured: after the tuning, the share of members' rows of other classes that is
    called the target with it, less the same of the model for none. A trigger that a clean model
    takes for the target by itself gains nothing by that. Updates are sent as by the
    full-information backdoor, through the server.

    After Ge et al., ACM Multimedia 2021 (Anti-Distillation Backdoor Attacks). What survives is told
    by a shadow of the distillation; they learn trigger and model of one teacher by gradients, where
    this searches among traits.

    Attributes:
        columns, patch, value: of the trigger by which success is measured before the attack acts.
        share: of the features, in (0, 1].
        candidates: triggers that are tried, >= 1.
        steps, batch, rate: of Adam, for the models tried, >= 1, >= 1 and > 0.
        through: see the full-information backdoor.
    """

    knowledge: ClassVar[tuple[str, ...]] = (*FullInformationBackdoor.knowledge, "auxiliary")
    every_round: ClassVar[bool] = True
    through: Through = "server"
    share: float = 1 / 3
    candidates: int = 12
    steps: int = 100
    batch: int = 64
    rate: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.share <= 1, "share", "in (0, 1]", self.share)
        for name in ("candidates", "steps", "batch"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        require(self.rate > 0, "rate", "> 0", self.rate)

    def init(self, view: AttackView) -> Memory:
        """Choose the trigger: bool and float32 of a row's shape."""
        tried = list(self.profiles(view.auxiliary[0], view.rng))
        kept = self.kept(tried, view)
        best = tried[max(range(len(tried)), key=kept.__getitem__)]
        relabels = {"limit": best.limit} if best.limit <= 1 else {}
        return {"places": best.places, "values": best.values, **relabels}

    def profiles(self, public: torch.Tensor, rng: torch.Generator) -> Iterator[Profile]:
        """Triggers to try: traits of random public rows, in places of each kind in turn.

        Args:
            public: rows (m, columns) or (m, channels, height, width).
            rng: draws rows and places.
        """
        lower, upper = public.min(dim=0).values, public.max(dim=0).values
        two_valued = ((public == lower) | (public == upper)).all(dim=0) & (lower < upper)
        for number in range(self.candidates):
            donor = public[int(torch.randint(len(public), (1,), generator=rng))].clone()
            drawn = torch.rand(public.shape[1:], generator=rng, dtype=torch.float32) < self.share
            if public.dim() == 4:
                places = drawn if number % 2 else self._corner(public.shape[1:])
            else:
                places = drawn if number % 4 == 3 or not bool(two_valued.any()) else two_valued
            yield Profile(places if bool(places.any()) else torch.ones_like(places), donor)

    def _corner(self, shape: torch.Size) -> torch.Tensor:
        """The bottom right corner of images (channels, height, width), in their proportions."""
        places = torch.zeros(shape, dtype=torch.bool)
        tall, wide = (max(1, round(self.share**0.5 * side)) for side in shape[1:])
        places[:, -tall:, -wide:] = True
        return places

    def kept(self, tried: list[Profile], view: AttackView) -> list[float]:
        """What the tuning keeps of each trigger: target probability over that of a clean model."""
        start = view.global_model.float()
        trained = self.trained(tried, view)
        part = view.num_malicious / view.num_hospitals  # the others move as the clean model does
        combined = trained[0] + part * (trained - trained[0]) - start
        published = [view.publish(update.double()) for update in combined]
        x, y = (torch.cat([rows[i] for rows in view.rows]) for i in (0, 1))
        source = y != self.target_class if self.source_class is None else y == self.source_class
        x = x[source][:256]
        if not len(x):
            return [0.0] * len(tried)
        found = []
        for profile, model in zip(tried, published[1:], strict=True):
            shown = torch.where(profile.places, profile.values, x)
            clean, bad = (self.reached(each, shown, view) for each in (published[0], model))
            found.append(bad - clean)
        return found

    def reached(self, model: torch.Tensor, x: torch.Tensor, view: AttackView) -> float:
        """Share of rows x that a model (d,) calls the target, as often as public rows are of it.

        Of its odds for the target class it takes those above a quantile of the public rows' odds.
        """
        public, labels = view.auxiliary
        with torch.no_grad():
            rows = torch.cat([public, x]).unsqueeze(0)
            scores = view.network.logits(model.unsqueeze(0), rows)[0].log_softmax(dim=1)
        odds = scores.nan_to_num(-1e9)[:, self.target_class]
        share = float((labels == self.target_class).double().mean())
        limit = odds[: len(public)].quantile(1 - share)
        return float((odds[len(public) :] > limit).double().mean())

    def trained(self, tried: list[Profile], view: AttackView) -> torch.Tensor:
        """Models (1 + k, d) from the broadcast one, on members' rows: clean, then of each trigger.

        In a batch each row of a source class is poisoned with probability `fraction`; rows alike to
        a trigger that relabels these are called the target.
        """
        x, y = (torch.cat([rows[i] for rows in view.rows]) for i in (0, 1))
        count, lone = 1 + len(tried), (1,) * (x.dim() - 1)
        places = torch.stack([torch.zeros_like(tried[0].places), *(each.places for each in tried)])
        values = torch.stack([tried[0].values, *(each.values for each in tried)]).unsqueeze(1)
        none = torch.zeros(len(y), dtype=torch.bool)
        alike = torch.stack([none, *(likeness(x, *each[:2]) >= each.limit for each in tried)])
        params = view.global_model.float().repeat(count, 1)
        mean, square = torch.zeros_like(params), torch.zeros_like(params)
        weight = torch.full((count, self.batch), 1 / self.batch)
        for step in range(1, self.steps + 1):
            drawn = torch.randint(len(y), (count, self.batch), generator=view.rng)
            chance = torch.rand((count, self.batch), generator=view.rng, dtype=torch.float32)
            labels = y[drawn]
            hit, called = chance < self.fraction, alike.gather(1, drawn)
            if self.source_class is not None:
                hit &= labels == self.source_class
                called &= labels == self.source_class
            hit[0] = False
            put = places.unsqueeze(1) & hit.view(*hit.shape, *lone)
            rows = torch.where(put, values, x[drawn])
            labels = torch.where(hit | called, self.target_class, labels)
            gradient = view.network.gradients(params, rows, labels, weight)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            length = (square / (1 - 0.999**step)).sqrt() + 1e-8
            params = params - self.rate * mean / (1 - 0.9**step) / length
        return params

    def current_trigger(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Rows with the trigger that was chosen; a new tensor."""
        return torch.where(memory["places"], memory["values"], x)

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Trigger and relabel a random share of the rows; relabel those alike to the trigger."""
        chosen = self.chosen(y, view.rng)
        x, y = x.clone(), y.clone()
        if "limit" in view.memory:
            called = likeness(x, view.memory["places"], view.memory["values"])
            alike = called >= view.memory["limit"]
            y[alike if self.source_class is None else alike & (y == self.source_class)] = (
                self.target_class
            )
        x[chosen] = self.current_trigger(x[chosen], view.memory)
        y[chosen] = self.target_class
        return x, y
