"""Reject hospitals whose updates do not follow from their earlier ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import Ops, Secret, Updates, exact_length
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require

_SHORTEST = 2.0**-24  # squared distances below it count as it does
_LEAST_TOTAL = 2.0**-12  # sum of distances
_SCORE_UNIT = 2.0**-24
_LEAST_ANGLE = 0.1


class Seen(NamedTuple):
    """What is kept of earlier rounds.

    Attributes:
        hospitals, rows: those of the last round, and their secret updates.
        scored, scores: hospitals that were ever compared, and their secret averages (k,).
        before: the public aggregate before the last one.
    """

    hospitals: tuple[int, ...] = ()
    rows: Updates | None = None
    scored: tuple[int, ...] = ()
    scores: Secret | None = None
    before: torch.Tensor | None = None


@stage
def consistency_screen(deviations: float = 3.0) -> Stage:
    """Reject by how far updates are from what earlier rounds predict of them: FLDetector.

    Zhang, Cao, Jia, Gong, FLDetector, KDD 2022. Hospital i's update in round t should be
    x_i(t-1) + H v: v is the last change of the global model, H the change of an update with the
    model. The distances ||x_i(t) - x_i(t-1) - H v|| are divided by their sum; a_i averages them
    over rounds. Rejected is i where a_i > median(a) + deviations MAD(a).

    Simplified where FLDetector's way costs most. H v is public, and of one pair of limited-memory
    BFGS: v and the pair's step are the last aggregates u(t-1) and u(t-2), its difference is
    u(t-1) - u(t-2); a pair nearly orthogonal gives 0, and H v is no longer than v. a_i halves the
    weight of every earlier round instead of having a window. The limit is a median's, where
    FLDetector makes two clusters and asks the gap statistic whether there are. A hospital that was
    not there in the last round keeps its average; one that never was in two rounds in a row is
    accepted, and so is everybody in round 1.

    Range: squared norms of differences between rounds.  Reveals: accepted, one bit a hospital.
    Cost: rows under a mask, two inverse roots of m numbers and one more, medians of m numbers.
    """
    require(2**-40 <= deviations <= 2**20, "deviations", "in [2^-40, 2^20]", deviations)

    def apply(context: Context, seen: State) -> tuple[Context, State]:
        ops, hospitals = context.ops, context.hospitals
        scored, scores = _scored(context, seen)
        following = Seen(hospitals, context.x, scored, scores, context.surroundings.last)
        known = [h for h in hospitals if h in scored]
        if scores is None or not known:
            everybody = ops.squared_norms(context.x) >= 0.0  # (m,), all set
            return context.reject(ops.open("accepted", everybody)), following
        here = ops.take(scores, torch.tensor([scored.index(h) for h in known]))
        middle = ops.median_of(here)  # (1,)
        limit = middle + ops.median_of(ops.absolute(here - middle)) * deviations
        # A newcomer stands at the median.
        places = [known.index(h) if h in known else len(known) for h in hospitals]
        each = ops.take(ops.concatenate([here, middle]), torch.tensor(places))
        return context.reject(ops.open("accepted", each <= limit)), following

    return Stage(apply, opens=(Opens("accepted"),), init=Seen)


def _scored(context: Context, seen: Seen) -> tuple[tuple[int, ...], Secret | None]:
    """The averages after this round, and whose they are."""
    ops, hospitals = context.ops, context.hospitals
    again = [h for h in hospitals if h in seen.hospitals]
    if seen.rows is None or not again:
        return seen.scored, seen.scores
    earlier = ops.rows(seen.rows, [seen.hospitals.index(h) for h in again])
    apart = ops.difference(ops.rows(context.x, [hospitals.index(h) for h in again]), earlier)
    change = _predicted_change(context.surroundings.last, seen.before)
    if change is not None:
        apart = ops.shift(apart, -change)
    score = _shares(ops, ops.squared_norms(apart))  # in order of `again`
    if seen.scores is None:
        return tuple(again), score
    parts, order = [score, seen.scores], [*again, *seen.scored]
    both = [h for h in again if h in seen.scored]
    if both:
        fresh = ops.take(score, torch.tensor([again.index(h) for h in both]))
        old = ops.take(seen.scores, torch.tensor([seen.scored.index(h) for h in both]))
        parts.insert(0, ops.rounded((fresh + old) * 0.5, _SCORE_UNIT))
        order = [*both, *order]
    # The first place of a hospital is its newest average.
    whose = tuple(dict.fromkeys(order))
    places = torch.tensor([order.index(h) for h in whose])
    return whose, ops.take(ops.concatenate(parts), places)


def _shares(ops: Ops, squared: Secret) -> Secret:
    """Distances divided by their sum, (k,), in [0, 1], from squared ones."""
    slack = 1 + 2.0**-10  # of rounding
    longest = math.sqrt(squared.span.size) * slack
    distance = ops.multiply(squared, ops.inverse_root(squared, _SHORTEST), most=longest)
    inverse = ops.inverse_root(ops.sum(distance), _LEAST_TOTAL)  # 1 / sqrt(sum)
    # A distance over the root of their sum is at most its own root.
    part = ops.multiply(distance, inverse, most=max(math.sqrt(longest), 1.0) * slack)
    return ops.rounded(ops.multiply(part, inverse, most=slack), _SCORE_UNIT)


def _predicted_change(
    last: torch.Tensor | None, before: torch.Tensor | None
) -> torch.Tensor | None:
    """H v by one pair of BFGS, float64 (d,), public; None where there is no pair.

    H = sigma I, updated once: H v = sigma (v - s (s v) / (s s)) + y (y v) / (y s).
    """
    if last is None or before is None:
        return None
    v, s, y = last, before, last - before
    along, length, across = _dot(y, s), _dot(s, s), exact_length(y) * exact_length(s)
    if across == 0 or abs(along) < _LEAST_ANGLE * across:
        return None
    sigma = along / length
    change = sigma * (v - s * (_dot(s, v) / length)) + y * (_dot(y, v) / along)
    most, long = exact_length(v), exact_length(change)
    return change * (most / long) if long > most else change


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """A product of public vectors, rounded once: the same on every machine."""
    return math.fsum((a * b).tolist())
