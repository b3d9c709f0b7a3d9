"""What can be known of a run before it starts: whether its rule can work at all.

A rule's limits depend on the numbers of hospitals, parameters and rounds, which no single setting
knows. So each rule is tried once on small made-up updates, in the clear with the arithmetic that it
will run in, and its ranges in all planned rounds, before anything is written.
"""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from statistics import NormalDist

import torch

from secure_fl.aggregation.dry_run import rehearse_ranges
from secure_fl.aggregation.openings import UNIT
from secure_fl.aggregation.ranges import shortest
from secure_fl.backends.clear import ClearBackend
from secure_fl.checks import check
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.extensions import NONE, Extensions
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig, PrivacyConfig

# Largest chance that the noise alone puts an honest update outside the rule's range.
TOLERATED_REFUSALS = 0.01
# Standard deviation of the made-up updates.
_SMALL = 2.0**-7
_PACKAGE = Path(__file__).parents[1]


def check_defence(
    defence: DefenceConfig,
    privacy: PrivacyConfig,
    hospitals: int,
    dim: int,
    extensions: Extensions = NONE,
    minimum: int = 1,
) -> None:
    """Refuse a rule that cannot work with so many hospitals and parameters, or with the noise.

    Args:
        minimum: fewest hospitals that are combined in the run.
        extensions: code of one's own that was permitted, where the rule is one's own.

    Raises:
        ConfigError: naming the defence, the limit and what to change.
    """
    rule, place = defence.build(extensions), f"defence {defence.name!r}"
    chance = refusal_chance(rule.limit, privacy.noise_sigma, dim)
    if chance > TOLERATED_REFUSALS:
        raise ConfigError(
            f"privacy.noise_sigma must be at most {largest_noise(rule.limit, dim):.3g} for "
            f"{place}, whose rule takes coordinates inside (-{rule.limit:g}, {rule.limit:g}); "
            f"got {privacy.noise_sigma:g}, which puts {100 * chance:.3g} % of honest updates of "
            f"{dim:,} parameters outside, where they are refused: lower the noise, or raise the "
            "rule's max_abs"
        )
    rng = torch.Generator().manual_seed(0)
    updates = _SMALL * torch.randn(hospitals, dim, generator=rng)
    name = "plain" if defence.backend == "plain" else "fixed"
    try:
        session = ClearBackend(name, minimum).session(rule, hospitals, dim)
        result = session.aggregate(
            session.submit(updates),
            reference=updates[0] if defence.reference else None,
            model=updates[0] if rule.uses_model else None,
        )
    except InputError as error:
        raise ConfigError(
            f"{place} cannot work with {hospitals} hospitals and {dim:,} parameters: "
            f"{error}{_mistake(error)}"
        ) from error
    # Random rows do not cancel: a zero was not combined, though enough rows were in play.
    if int(result.accepted.sum()) >= minimum and not result.update.any():
        raise ConfigError(
            f"{place} combines fewer than the minimum of {minimum} hospitals: lower its "
            "minimum_hospitals and colluders, or take a rule whose update is made of more"
        )


def _mistake(error: Exception) -> str:
    """Where a stage of somebody's own went wrong, for a message, and in which words; "" where
    nothing did.

    The rows of a rehearsal are made up, so that words may be told that at a node might quote a
    share.
    """
    cause = error.__cause__
    while isinstance(cause, SecureFLError):
        cause = cause.__cause__
    if cause is None:
        return ""
    places = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(cause.__traceback__)]
    own = [
        (file.name, line)
        for file, line in places
        if not file.is_relative_to(_PACKAGE) and "site-packages" not in file.parts
    ]
    where = f"{own[-1][0]}, line {own[-1][1]}: " if own else ""
    return f" ({where}{cause})"


def check_numbers(experiment: ExperimentConfig, defence: DefenceConfig, dim: int) -> None:
    """Refuse a rule whose integers could wrap in a planned round, and norms lost to rounding.

    Args:
        experiment: the job.
        defence: one of its defences; in the plain backend everything passes.
        dim: parameters d of the model.

    Raises:
        ConfigError: names the defence or the setting, the rule and the value.
    """
    if defence.backend == "plain":
        return
    norm = experiment.privacy.clip_norm
    least = shortest(dim, UNIT)
    check(
        norm is None or norm >= least,
        "privacy.clip_norm",
        f"at least {least:.3g}, for {dim} parameters that the {defence.backend} backend rounds to "
        "steps of 2^-16",
        norm,
    )
    rule = defence.build(experiment.extensions)
    if rule.own_stages:
        return  # what they make of one column is theirs; operations check ranges in each round too
    try:
        rehearse_ranges(rule, experiment.data.hospitals, dim, experiment.rounds)
    except InputError as error:
        raise ConfigError(f"defence {defence.name!r}: {error}") from error


def refusal_chance(limit: float, sigma: float, dim: int) -> float:
    """Chance that Gaussian noise alone puts one of `dim` coordinates at `limit` or beyond.

    For any update it is at least that: the noise is centred, so zero is the best place to start.
    """
    if sigma == 0:
        return 0.0
    outside = math.erfc(limit / (sigma * math.sqrt(2)))
    return 1.0 if outside == 1 else -math.expm1(dim * math.log1p(-outside))


def largest_noise(limit: float, dim: int) -> float:
    """The standard deviation at which the chance is the tolerated one."""
    outside = -math.expm1(math.log1p(-TOLERATED_REFUSALS) / dim)
    return limit / -NormalDist().inv_cdf(outside / 2)
