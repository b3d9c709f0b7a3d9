"""The plain backend: float64 tensors in the clear."""

from __future__ import annotations

from collections.abc import Sequence
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


def encode(x: torch.Tensor) -> Updates:
    """Wrap float updates (m, d)."""
    m, d = x.shape
    return Updates(x.to(torch.float64), (m, d))


def _cosine_matrix(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    norms = x.norm(dim=1)[:, None] * y.norm(dim=1)[None, :]
    return torch.where(norms > 0, (x @ y.T) / norms.clamp_min(1e-300), 0.0)


class PlainOps(Ops):
    """Every operation as its textbook formula."""

    def _secret(self, data: torch.Tensor, is_bit: bool = False) -> Secret:
        return Secret(self, data, tuple(data.shape), is_bit=is_bit)

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        permit.spend(secret.shape, secret.is_bit)
        return secret.data.clone()

    def _kept(self, x: Updates, indices: list[int]) -> Updates:
        data = x.data[indices]
        return replace(x, data=data, shape=(len(data), x.shape[1]))

    def _row(self, x: Updates, index: int) -> Secret:
        return self._secret(x.data[index])

    def _columns(self, x: Updates, indices: list[int]) -> Updates:
        return replace(x, data=x.data[:, indices], shape=(x.shape[0], len(indices)))

    def _shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates:
        vector = by.data if isinstance(by, Secret) else by.to(torch.float64)
        return replace(x, data=x.data + vector, norm_bound=x.norm_bound + exact_length(vector))

    def _combine(
        self, x: Updates, weights: Secret, count: int, most: float | None, rounded: bool
    ) -> Updates:
        data = weights.data.to(torch.float64).reshape(count, -1) @ x.data
        return Updates(data, (count, x.shape[1]))

    def _group_means(self, x: Updates, groups: list[list[int]]) -> Updates:
        means = torch.stack([x.data[group].mean(dim=0) for group in groups])
        return Updates(means, (len(groups), x.shape[1]), 1.0, x.norm_bound)

    def _difference_of_rows(self, x: Updates, y: Updates) -> Updates:
        return Updates(x.data - y.data, x.shape, 1.0, x.norm_bound + y.norm_bound)

    def gram(self, x: Updates) -> Secret:
        return self._secret(x.data @ x.data.T)

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
        return self._secret(x.data.square().sum(dim=1))

    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        vector = reference.data if isinstance(reference, Secret) else reference.to(torch.float64)
        # Summed row by row: a matrix product rounds equal rows differently, and a rule that
        # compares scores with their median would then tell equal hospitals apart.
        dots = (x.data * vector).sum(dim=1)
        norms = x.data.norm(dim=1) * vector.norm()
        return self._secret(torch.where(norms > 0, dots / norms.clamp_min(1e-300), 0.0))

    def pairwise_cosine(self, x: Updates) -> Secret:
        return self._secret(_cosine_matrix(x.data, x.data).fill_diagonal_(0.0))

    def clip(
        self, x: Updates, squared_bound: Secret | float, norm_bound: float | None = None
    ) -> Updates:
        public = clipped_norm_bound(x, squared_bound, norm_bound)
        bound = torch.as_tensor(_value(squared_bound), dtype=torch.float64).sqrt()
        norms = x.data.norm(dim=1)
        factors = torch.where(norms > bound, bound / norms.clamp_min(1e-300), 1.0)
        return replace(x, data=x.data * factors[:, None], norm_bound=public)

    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        ordered = x.data.sort(dim=0).values
        return [self._secret(ordered[k]) for k in ranks]

    def _weighted_order(self, x: Updates, copies: list[int], ranks: list[int]) -> list[Secret]:
        ordered, rows = x.data.sort(dim=0)
        reached = torch.tensor(copies)[rows].cumsum(dim=0)  # copies up to and with each value
        places = [(reached <= rank).sum(dim=0, keepdim=True) for rank in ranks]
        return [self._secret(ordered.gather(0, place)[0]) for place in places]

    def trimmed_mask(self, x: Updates, trim: int) -> Secret:
        order = x.data.argsort(dim=0, stable=True)
        mask = torch.zeros(x.shape, dtype=torch.bool)
        mask.scatter_(0, order[trim : x.shape[0] - trim], True)
        return self._secret(mask, is_bit=True)

    def _nearest(self, x: Updates, keep: int) -> Secret:
        return self._closest(x.data - self.median(x).data, keep)

    def _nearest_zero(self, x: Updates, keep: int) -> Secret:
        return self._closest(x.data, keep)

    def _closest(self, difference: torch.Tensor, keep: int) -> Secret:
        side = (difference >= 0).to(torch.int8).argsort(dim=0, stable=True)
        distance = difference.abs().gather(0, side)
        order = side.gather(0, distance.argsort(dim=0, stable=True))
        mask = torch.zeros(difference.shape, dtype=torch.bool)
        mask.scatter_(0, order[:keep], True)
        return self._secret(mask, is_bit=True)

    def signs(self, x: Updates) -> Secret:
        return self._secret(x.data < 0, is_bit=True)

    def _count_at_least(self, bits: Secret, count: int) -> Secret:
        return self._secret(bits.data.sum(dim=0) >= count, is_bit=True)

    def _differ(self, bits: Secret, other: Secret) -> Secret:
        return self._secret(bits.data ^ other.data, is_bit=True)

    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        other = torch.zeros((), dtype=torch.float64) if otherwise is None else otherwise.data
        data = torch.where(mask.data, x.data, other.to(torch.float64))
        return Updates(data, x.shape, rows=x.rows, disjoint=x.disjoint)

    def _weighted_mean(self, x: Updates, weights: torch.Tensor, divisor: float | None) -> Secret:
        weights = weights.to(torch.float64)
        return self._secret(weights @ x.data / (weights.sum() if divisor is None else divisor))

    def _add(self, a: Secret, b: Secret | float) -> Secret:
        return self._secret(_value(a) + _value(b))

    def _subtract(self, a: Secret, b: Secret | float) -> Secret:
        return self._secret(_value(a) - _value(b))

    def _multiply(self, a: Secret, b: Secret | float, most: float | None) -> Secret:
        return self._secret(_value(a) * _value(b))

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


def _value(b: Secret | float) -> torch.Tensor:
    """Numbers, of bits 0.0 and 1.0."""
    return torch.as_tensor(b.data if isinstance(b, Secret) else b, dtype=torch.float64)
