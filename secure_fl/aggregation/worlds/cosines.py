"""Cosines between rows of updates in fixed point, and comparisons of them without a root."""

from __future__ import annotations

import torch

from secure_fl.aggregation.ops import (
    Secret,
    Updates,
)
from secure_fl.aggregation.ranges import Span
from secure_fl.aggregation.worlds.constants import (
    unit_direction,
)
from secure_fl.aggregation.worlds.integer_ring import Numbers
from secure_fl.aggregation.worlds.matrices import FixedMatrices
from secure_fl.aggregation.worlds.roots import (
    Root,
    in_two,
    inverse_root,
    normalized,
)

_COSINE_BITS = 24  # fractional bits of a cosine
_COSINES = Span(-1 - 2.0**-20, 1 + 2.0**-20)  # rounding included


class FixedCosines(FixedMatrices):
    """The cosines of `UpdateOps` over integers modulo 2^64."""

    def _dots(self, x: Updates, reference: torch.Tensor | Secret) -> Numbers:
        """x_i . reference, (m,); a public direction is scaled to length 2^30 before."""
        self._check_norm_range(x)
        if isinstance(reference, Secret):
            self._check_norm_range(x, x.shape[0], reference.unit)
            return self.ring.row_dot(self.settled(x), reference.data)
        return self.ring.row_dot_public(self.settled(x), unit_direction(reference))

    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        dot = self._dots(x, reference)
        squared = self.squared_norms(x).data
        if isinstance(reference, Secret):
            other = self.ring.vector_norm(reference.data)
            both = inverse_root(self.ring, self.ring.joined([squared, other]))
            return self._cosine_from(dot, *in_two(self.ring, both, x.shape[0], 1), (x.shape[0],))
        root = inverse_root(self.ring, squared)
        # |dot| <= 2^e 2^30, so dot 2^(31-e) stays within 2^61.
        q = self.ring.floor_shift(self.ring.product(dot, root.shrink), 31)  # 30 fractional bits
        cosine = self.ring.floor_shift(self.ring.product(q, root.y), 60 - _COSINE_BITS)
        return self._wrap(cosine, (x.shape[0],), 2.0**-_COSINE_BITS, _COSINES)

    def cosine_at_least(
        self, x: Updates, reference: torch.Tensor | Secret, threshold: float
    ) -> Secret:
        """Compare without a root: signs alone for the threshold 0, else signs and squares.

        cos >= t > 0 where dot > 0 and dot^2 >= t^2 s, cos < t < 0 where dot < 0 and
        dot^2 > t^2 s, s the product of the squared norms. The threshold is lowered by 2^-24, more
        than the error of dot^2 / s, so that equal directions pass 1 and all pass -1; for 0 the
        comparison is exact.
        """
        dot = self._dots(x, reference)
        shape = (x.shape[0],)
        if threshold == 0:
            return ~self._below_zero([dot], shape)[0]
        ring, squared = self.ring, self.squared_norms(x).data
        if isinstance(reference, Secret):
            both = normalized(ring, ring.joined([squared, ring.vector_norm(reference.data)]))
            own, other = in_two(ring, both, x.shape[0], 1)
            q = ring.product(ring.product(dot, own.shrink), other.shrink)
            q = ring.floor_shift(q, 32)  # as in `_cosine_from`
            u = ring.floor_shift(ring.product(own.u, other.u), 28)
        else:
            own = normalized(ring, squared)
            q = ring.floor_shift(ring.product(dot, own.shrink), 31)
            u = own.u
        # Both sides have 60 fractional bits and stay below 2^61.
        lowered = threshold - 2.0**-_COSINE_BITS
        if threshold > 0:
            lowered = max(lowered, 0.0)
        bound = ring.times(u, round(lowered**2 * 2**32))
        square = ring.product(q, q)
        if threshold > 0:
            zero = ring.minus(dot, dot)
            far, ahead = self._below_zero([ring.minus(square, bound), ring.minus(zero, dot)], shape)
            return ~far & ahead
        beyond, behind = self._below_zero([ring.minus(bound, square), dot], shape)
        return ~(beyond & behind)

    def pairwise_cosine(self, x: Updates) -> Secret:
        m = x.shape[0]
        gram = self.gram(x).data
        root = inverse_root(self.ring, self.ring.diagonal(gram))
        row = Root(*(self.ring.expand(part, 1, m) for part in root))
        column = Root(*(self.ring.expand(part, 0, m) for part in root))
        cosine = self._cosine_from(gram, row, column, (m, m))
        off_diagonal = 1 - torch.eye(m, dtype=torch.int64)
        return self._wrap(self.ring.times(cosine.data, off_diagonal), (m, m), cosine.unit, _COSINES)

    def _cosine_from(self, dot: Numbers, a: Root, b: Root, shape: tuple[int, ...]) -> Secret:
        """dot / (sqrt(s_a) sqrt(s_b)) = (dot / 2^(e_a + e_b)) y_a y_b.

        |dot| <= 2^(e_a + e_b), so dot 2^(31 - e_a) 2^(31 - e_b) stays within 2^62; the product
        of the first two may wrap, which the last undoes.
        """
        q = self.ring.product(self.ring.product(dot, a.shrink), b.shrink)
        q = self.ring.floor_shift(q, 32)  # 30 fractional bits, |q| <= sqrt(u_a u_b)
        q = self.ring.floor_shift(self.ring.product(q, a.y), 30)
        q = self.ring.floor_shift(self.ring.product(q, b.y), 60 - _COSINE_BITS)
        return self._wrap(q, shape, 2.0**-_COSINE_BITS, _COSINES)
