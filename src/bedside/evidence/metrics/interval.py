"""A value with its interval, and the normal intervals on the scale where the value is nearly normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Scale = Literal["plain", "log", "logit", "fisher_z"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval at the level asked for.

    `se` is the standard error on the value's own scale; `method` an id of `METHODS`; `n_rows` and `n_subjects` count
    what the value rests on (the rows with the event for a sensitivity), 0 where the caller gave counts without rows.
    """

    value: float
    low: float
    high: float
    se: float
    method: str
    n_rows: int = 0
    n_subjects: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A value that cannot be known from these rows, and why."""

    reason: str
    n_rows: int = 0
    n_subjects: int = 0


# Every method id of this folder: how the interval is made, and on which scale its half-width goes with 1/sqrt(n).
METHODS: dict[str, tuple[Scale | Literal["score"], str]] = {
    "wilson": ("score", "Wilson score interval (Wilson 1927)"),
    "wilson_clustered": ("score", "Wilson score interval with the effective sample size of rows clustered in subjects"),
    "clopper_pearson": ("score", "Clopper-Pearson exact binomial interval (1934)"),
    "clopper_pearson_clustered": (
        "score",
        "Clopper-Pearson interval with the effective sample size of rows clustered in subjects (Korn, Graubard 1998)",
    ),
    "jeffreys": (
        "score",
        "Equal-tailed Beta posterior interval, Jeffreys' prior (Brown, Cai, DasGupta 2001)",
    ),
    "jeffreys_clustered": (
        "score",
        "Equal-tailed Beta posterior interval with the effective sample size of rows clustered in subjects",
    ),
    "wilson_jaccard": ("logit", "Wilson interval of tp/(tp+fp+fn), carried to F1 = 2J/(1+J)"),
    "wilson_events": (
        "score",
        "Wilson interval with the subjects with an event as n (Boyd 2013), at AP = 1",
    ),
    "mover_wilson": (
        "plain",
        "Wilson intervals of sensitivity and specificity combined (Newcombe 1998)",
    ),
    "delong": ("logit", "DeLong variance (1988), interval on the logit scale"),
    "delong_clustered": ("logit", "DeLong variance by subject (Obuchowski 1997), interval on the logit scale"),
    "delong_plain": ("plain", "DeLong variance (1988), symmetric interval"),
    "delong_plain_clustered": ("plain", "DeLong variance by subject (Obuchowski 1997), symmetric interval"),
    "delong_paired": ("plain", "DeLong variance of a paired difference (1988), symmetric interval"),
    "delong_paired_clustered": ("plain", "DeLong variance of a paired difference by subject (Obuchowski 1997)"),
    "mann_whitney_score": ("logit", "Score interval of the Mann-Whitney statistic (Newcombe 2006, method 5)"),
    "mover_mann_whitney": ("plain", "Two Mann-Whitney score intervals combined by variance recovery"),
    "delta": ("plain", "Influence-function standard error, symmetric interval"),
    "delta_clustered": ("plain", "Influence-function standard error by subject, symmetric interval"),
    "delta_log": ("log", "Influence-function standard error, interval on the log scale"),
    "delta_log_clustered": ("log", "Influence-function standard error by subject, interval on the log scale"),
    "delta_logit": ("logit", "Influence-function standard error, interval on the logit scale"),
    "delta_logit_clustered": ("logit", "Influence-function standard error by subject, interval on the logit scale"),
    "delta_fisher_z": ("fisher_z", "Influence-function standard error, interval on Fisher's z scale"),
    "delta_fisher_z_clustered": (
        "fisher_z",
        "Influence-function standard error by subject, interval on Fisher's z",
    ),
    "sandwich": ("plain", "Logistic recalibration with sandwich variance (White 1982)"),
    "sandwich_clustered": ("plain", "Logistic recalibration with sandwich variance by subject (Liang, Zeger 1986)"),
    "sandwich_draws": ("plain", "Percentiles over draws from the estimator's normal distribution (sandwich variance)"),
    "sandwich_draws_clustered": ("plain", "The same with sandwich variance by subject"),
    "bootstrap_subject": ("plain", "Percentiles over bootstrap samples of subjects"),
    "woodruff": ("plain", "Woodruff's interval of a quantile (1952) by inverting a Wilson interval"),
    "dkw": ("plain", "Dvoretzky-Kiefer-Wolfowitz bounds of two distribution functions (Massart 1990)"),
    "noncentral_chi_square": (
        "plain",
        "Interval of a noncentrality by inverting the noncentral chi-square distribution (Smithson 2003)",
    ),
    "no_variation": ("logit", "All rows agree: bound from the Wilson interval of the share of rows that agree"),
}


def z_value(level: float) -> float:
    """The two-sided standard normal quantile of `level` (1.96 at 0.95). Raises ValueError outside (0, 1)."""
    from scipy.special import ndtri

    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return float(ndtri(0.5 + level / 2))


def to_scale(value: float, scale: Scale) -> float:
    """`value` on `scale`; infinite at the ends of the scale's range."""
    if scale == "plain":
        return value
    if scale == "log":
        return math.log(value) if value > 0 else -math.inf
    if scale == "logit":
        if value <= 0 or value >= 1:
            return -math.inf if value <= 0 else math.inf
        return math.log(value) - math.log1p(-value)
    return math.atanh(value) if abs(value) < 1 else math.copysign(math.inf, value)


def normal_limits(value: float, se: float, level: float, scale: Scale) -> tuple[float, float]:
    """value ± z se, built on `scale` with the delta method and carried back.

    Raises ValueError when the value lies on the edge of the scale, where no such interval exists.
    """
    z = z_value(level)
    if scale == "plain":
        return value - z * se, value + z * se
    if scale == "log":
        if value <= 0:
            raise ValueError(f"no interval on the log scale around {value}")
        half = z * se / value
        return value * math.exp(-half), value * math.exp(half)
    if scale == "logit":
        if not 0 < value < 1:
            raise ValueError(f"no interval on the logit scale around {value}")
        half = z * se / (value * (1 - value))
        odds = value / (1 - value)
        # odds·e^±half may overflow for a tiny sample: e^-half never does.
        shrink = math.exp(-half)
        return odds * shrink / (1 + odds * shrink), odds / (shrink + odds)
    if not -1 < value < 1:
        raise ValueError(f"no interval on Fisher's z scale around {value}")
    half = z * se / (1 - value * value)
    centre = math.atanh(value)
    return math.tanh(centre - half), math.tanh(centre + half)


def mover(
    first: tuple[float, float, float], second: tuple[float, float, float], correlation: float = 0.0
) -> tuple[float, float]:
    """Limits of a sum from the (value, low, high) of its two terms: the method of variance estimates recovery.

    Source: Newcombe 1998 (hybrid score); Zou and Donner 2008, with their correlation.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second

    def distance(x: float, y: float) -> float:
        return math.sqrt(max(x * x + y * y + 2 * correlation * x * y, 0.0))

    return a + b - distance(a - a_low, b - b_low), a + b + distance(a_high - a, b_high - b)
