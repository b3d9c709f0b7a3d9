"""Add public noise to the update."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require


@stage
def public_noise(sigma: float = 0.001) -> Stage:
    """Add the same normal noise of standard deviation sigma to every row, and so to their mean.

    The noise of CRFL (Xie, Chen, Chen, Li, ICML 2021). It is drawn from public randomness that
    follows from the commitments: no hospital knows it when it makes its update, everybody can
    compute it afterwards. It blurs a planted pattern; it hides nothing, so it is no differential
    privacy (`privacy.noise_sigma` is). CRFL clips and blurs the model, and votes over many blurred
    models when it predicts; without that vote its certificate does not hold.

    Range: that of x and 16 sigma.  Reveals: nothing.  Cost: local, once lifted.
    """
    require(0 < sigma <= 2**4, "sigma", "in (0, 16]", sigma)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        noise = context.surroundings.noise(context.x.shape[1]) * sigma  # (d,)
        return replace(context, x=context.ops.shift(context.x, noise)), state

    return Stage(apply)
