"""Reject updates that point away from the others or from a public direction."""

from __future__ import annotations

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import SCORE_TOLERANCE, Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import InputError, require

REFERENCES = ("median", "pairwise", "root")


@stage
def cosine_screen(reference: str = "median", threshold: float = 0.0) -> Stage:
    """Reject hospital i where its cosine is below the threshold.

    The cosine is, by `reference`:
        median    cos(x_i, coordinate-wise median of all)
        pairwise  mean over j != i of cos(x_i, x_j)      (paper, section 2.4); up to 2^-14 below
                  the threshold it counts as there (`SCORE_TOLERANCE`)
        root      cos(x_i, g) for a public direction g   (FLTrust; Cao et al., NDSS 2021)

    Reveals: accepted, one bit a hospital.  Cost: n inner products of length d (n^2 for
    pairwise), n comparisons; a median for `median`; n squared norms for a threshold other than
    0; n inverse roots for `pairwise`.
    """
    require(reference in REFERENCES, "reference", f"one of {REFERENCES}", reference)
    require(-1 <= threshold <= 1, "threshold", "in [-1, 1]", threshold)

    def near(context: Context) -> Secret:
        ops, x = context.ops, context.x
        if reference == "median":
            return ops.cosine_at_least(x, ops.median(x), threshold)
        if reference == "root":
            if context.reference is None:
                raise InputError("cosine_screen needs a reference (float (d,)); got None")
            return ops.cosine_at_least(x, context.reference, threshold)
        others = max(x.shape[0] - 1, 1)
        # The sum against a multiple: a mean's public factor 1 / (m - 1) would be rounded.
        return ops.sum(ops.pairwise_cosine(x)) >= (threshold - SCORE_TOLERANCE) * others

    def apply(context: Context, state: State) -> tuple[Context, State]:
        accepted = context.ops.open("accepted", near(context))  # (m,)
        return context.reject(accepted), state

    return Stage(apply, opens=(Opens("accepted"),), uses_reference=reference == "root")
