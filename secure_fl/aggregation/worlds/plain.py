"""The plain backend: floating point in the clear, in the precision of the updates.

Rows and what is combined of them keep the type of the updates, float32 or float64; scores, a number
for each hospital or pair, and what is opened are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from secure_fl.aggregation.openings import Permit
from secure_fl.aggregation.ops import (
    Ops,
    Secret,
    Updates,
    clipped_norm_bound,
    exact_length,
    largest_norm_bound,
)
from secure_fl.aggregation.secret import joined_rows, paired_rows
from secure_fl.aggregation.worlds import comparators

_BLOCK = 2**14  # coordinates whose differences stay in the processor's cache


def encode(x: torch.Tensor) -> Updates:
    """Wrap float updates (m, d); types shorter than float32 become float32."""
    m, d = x.shape
    return Updates(x if x.dtype == torch.float64 else x.to(torch.float32), (m, d))


def _cosine_matrix(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    norms = x.norm(dim=1)[:, None] * y.norm(dim=1)[None, :]
    return torch.where(norms > 0, (x @ y.T) / norms.clamp_min(1e-300), 0.0)


class PlainOps(Ops):
    """Every operation as its textbook formula."""

    hashes = False

    def _secret(self, data: torch.Tensor, is_bit: bool = False) -> Secret:
        return Secret(self, data, tuple(data.shape), is_bit=is_bit)

    def _scores(self, data: torch.Tensor) -> Secret:
        return self._secret(data.to(torch.float64))

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        permit.spend(secret.shape, secret.is_bit)
        return secret.data.clone() if secret.is_bit else secret.data.to(torch.float64, copy=True)

    def _kept(self, x: Updates, indices: list[int]) -> Updates:
        data = x.data[indices]
        return replace(x, data=data, shape=(len(data), x.shape[1]))

    def _row(self, x: Updates, index: int) -> Secret:
        return self._secret(x.data[index])

    def _columns(self, x: Updates, indices: list[int]) -> Updates:
        return replace(x, data=x.data[:, indices], shape=(x.shape[0], len(indices)))

    def _shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates:
        vector = by.data if isinstance(by, Secret) else by.to(x.data.dtype)
        return replace(x, data=x.data + vector, norm_bound=x.norm_bound + exact_length(vector))

    def _combine(
        self, x: Updates, weights: Secret, count: int, most: float | None, rounded: bool
    ) -> Updates:
        data = weights.data.to(x.data.dtype).reshape(count, -1) @ x.data
        return Updates(data, (count, x.shape[1]))

    def _group_means(self, x: Updates, groups: list[list[int]]) -> Updates:
        means = torch.stack([x.data[group].mean(dim=0) for group in groups])
        return Updates(means, (len(groups), x.shape[1]), 1.0, x.norm_bound)

    def _difference_of_rows(self, x: Updates, y: Updates) -> Updates:
        return Updates(x.data - y.data, x.shape, 1.0, x.norm_bound + y.norm_bound)

    def gram(self, x: Updates) -> Secret:
        return self._scores(x.data @ x.data.T)

    def _distances_to(self, x: Updates, index: int) -> Secret:
        found = torch.zeros(x.shape[0], dtype=torch.float64)
        for part in x.data.split(_BLOCK, dim=1):
            found += (part - part[index]).square_().sum(dim=1)
        return self._secret(found)

    def join(self, parts: Sequence[Updates]) -> Updates:
        data = torch.cat([part.data for part in parts])
        shape = len(data), data.shape[1]
        return Updates(data, shape, 1.0, largest_norm_bound(parts), *joined_rows(parts))

    def accumulate(self, total: Updates | None, x: Updates) -> Updates:
        if total is None:
            return x
        bound = total.norm_bound + x.norm_bound
        return Updates(total.data + x.data, x.shape, 1.0, bound, *paired_rows(total, x))

    def squared_norms(self, x: Updates) -> Secret:
        return self._scores(x.data.square().sum(dim=1))

    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        vector = reference.data if isinstance(reference, Secret) else reference
        vector = vector.to(x.data.dtype)
        # Summed row by row: a matrix product rounds equal rows differently, and a rule that
        # compares scores with their median would then tell equal hospitals apart.
        dots = (x.data * vector).sum(dim=1)
        norms = x.data.norm(dim=1) * vector.norm()
        return self._scores(torch.where(norms > 0, dots / norms.clamp_min(1e-300), 0.0))

    def pairwise_cosine(self, x: Updates) -> Secret:
        return self._scores(_cosine_matrix(x.data, x.data).fill_diagonal_(0.0))

    def clip(
        self, x: Updates, squared_bound: Secret | float, norm_bound: float | None = None
    ) -> Updates:
        public = clipped_norm_bound(x, squared_bound, norm_bound)
        bound = _value(squared_bound).to(x.data.dtype).sqrt()
        norms = x.data.norm(dim=1)
        factors = torch.where(norms > bound, bound / norms.clamp_min(1e-300), 1.0)
        return replace(x, data=x.data * factors[:, None], norm_bound=public)

    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        return [self._secret(values) for values in comparators.order_statistics(x.data, ranks)]

    def _weighted_order(self, x: Updates, copies: list[int], ranks: list[int]) -> list[Secret]:
        ordered, rows = x.data.sort(dim=0)
        reached = torch.tensor(copies)[rows].cumsum(dim=0)  # copies up to and with each value
        places = [(reached <= rank).sum(dim=0, keepdim=True) for rank in ranks]
        return [self._secret(ordered.gather(0, place)[0]) for place in places]

    def trimmed_mask(self, x: Updates, trim: int) -> Secret:
        last = x.shape[0] - trim - 1
        least, most = comparators.order_statistics(x.data, (trim, last))
        mask = (x.data >= least) & (x.data <= most)

        def exactly(tied: torch.Tensor) -> torch.Tensor:
            return _marked(tied.argsort(dim=0, stable=True)[trim : last + 1], tied)

        return self._secret(_settled(mask, x.data, last + 1 - trim, exactly), is_bit=True)

    def _nearest(self, x: Updates, keep: int) -> Secret:
        return self._closest(x.data - self.median(x).data, keep)

    def _nearest_zero(self, x: Updates, keep: int) -> Secret:
        return self._closest(x.data, keep)

    def _closest(self, difference: torch.Tensor, keep: int) -> Secret:
        distance = difference.abs()
        (farthest,) = comparators.order_statistics(distance, (keep - 1,))

        def exactly(tied: torch.Tensor) -> torch.Tensor:
            side = (tied >= 0).to(torch.int8).argsort(dim=0, stable=True)
            order = side.gather(0, tied.abs().gather(0, side).argsort(dim=0, stable=True))
            return _marked(order[:keep], tied)

        mask = _settled(distance <= farthest, difference, keep, exactly)
        return self._secret(mask, is_bit=True)

    def _mean_of_middle(self, x: Updates, trim: int) -> Secret:
        return self._secret(comparators.mean_of_middle(x.data, trim))

    def _mean_of_nearest(
        self, x: Updates, keep: int, center: torch.Tensor | Secret | None
    ) -> Secret:
        at = center.data if isinstance(center, Secret) else center
        at = None if at is None else at.to(x.data.dtype)
        return self._secret(comparators.mean_of_nearest(x.data, keep, at))

    def signs(self, x: Updates) -> Secret:
        return self._secret(x.data < 0, is_bit=True)

    def _count_at_least(self, bits: Secret, count: int) -> Secret:
        return self._secret(bits.data.sum(dim=0) >= count, is_bit=True)

    def _differ(self, bits: Secret, other: Secret) -> Secret:
        return self._secret(bits.data ^ other.data, is_bit=True)

    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        other = torch.zeros(()) if otherwise is None else otherwise.data
        data = torch.where(mask.data, x.data, other.to(x.data.dtype))
        return Updates(data, x.shape, rows=x.rows, disjoint=x.disjoint)

    def _weighted_mean(self, x: Updates, weights: torch.Tensor, divisor: float | None) -> Secret:
        total = float(weights.sum()) if divisor is None else divisor
        return self._secret((weights.to(x.data.dtype) @ x.data).div_(total))

    def _add(self, a: Secret, b: Secret | float) -> Secret:
        return self._secret(_value(a) + _value(b))

    def _subtract(self, a: Secret, b: Secret | float) -> Secret:
        return self._secret(_value(a) - _value(b))

    def _multiply(self, a: Secret, b: Secret | float, most: float | None, bits: int) -> Secret:
        return self._secret(_value(a) * _value(b))

    def _matmul(self, a: Secret, b: Secret, most: float | None, bits: int) -> Secret:
        return self._secret(_value(a) @ _value(b))

    def _normalized(self, a: Secret, size: Secret, floor: float, most: float) -> Secret:
        exponent = (math.frexp(max(float(_value(size)), floor))[1] + 1) // 2
        return self._secret(_value(a) * math.ldexp(1.0, -2 * exponent))

    def _less_each(self, pairs: Sequence[tuple[Secret, Secret | float]]) -> list[Secret]:
        return [self._secret(_value(a) < _value(b), is_bit=True) for a, b in pairs]

    def _both(self, a: Secret, b: Secret) -> Secret:
        return self._secret(a.data & b.data, is_bit=True)

    def _invert(self, a: Secret) -> Secret:
        return self._secret(~a.data, is_bit=True)

    def _sum(self, a: Secret, axis: int) -> Secret:
        total = _value(a).sum(dim=axis)
        return self._secret(total if total.ndim else total[None])

    def _take(self, a: Secret, indices: torch.Tensor) -> Secret:
        return self._secret(_value(a).flatten()[indices])

    def _concatenate(self, parts: Sequence[Secret]) -> Secret:
        return self._secret(torch.cat([_value(part) for part in parts]))

    def _diagonal(self, a: Secret) -> Secret:
        return self._secret(_value(a).diagonal())

    def _expand(self, a: Secret, axis: int, count: int) -> Secret:
        return self._secret(_value(a).unsqueeze(axis).repeat_interleave(count, dim=axis))

    def _rounded_to(self, a: Secret, unit: float) -> Secret:
        return self._secret(_value(a))

    def _inverse_root(self, a: Secret, floor: float) -> Secret:
        return self._secret(_value(a).clamp_min(floor).rsqrt())

    def _places(self, a: Secret, ranks: Sequence[int]) -> Secret:
        chosen = a.data.argsort(stable=True)[list(ranks)]
        return self._secret(chosen[:, None] == torch.arange(a.shape[0]), is_bit=True)

    def _smallest(self, a: Secret, count: int) -> Secret:
        order = _value(a).argsort(dim=-1, stable=True)
        mask = torch.zeros(a.shape, dtype=torch.bool)
        return self._secret(mask.scatter_(-1, order[..., :count], True), is_bit=True)

    def _kth_values(self, a: Secret, ranks: Sequence[int]) -> list[Secret]:
        ordered = a.data.sort().values
        return [self._secret(ordered[k : k + 1]) for k in ranks]

    def _rescaled(self, a: Secret, factor: float) -> Secret:
        return self._secret(a.data * factor)


def _marked(indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(like.shape, dtype=torch.bool).scatter_(0, indices, True)


def _settled(
    mask: torch.Tensor,
    x: torch.Tensor,
    count: int,
    exactly: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """A mask (m, d) of `count` rows a coordinate: as it is but for coordinates with ties.

    Args:
        exactly: the mask of coordinates (m, c) of x, ties broken.
    """
    tied = mask.sum(dim=0) != count
    if bool(tied.any()):
        mask[:, tied] = exactly(x[:, tied])
    return mask


def _value(b: Secret | float) -> torch.Tensor:
    """Numbers: of bits and public ones float64, of rows in their own type."""
    if isinstance(b, Secret) and b.data.is_floating_point():
        return b.data
    return torch.as_tensor(b.data if isinstance(b, Secret) else b, dtype=torch.float64)
