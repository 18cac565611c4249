"""How many rows: to decide a gate, to develop a model (Riley 2020), to validate one (Riley 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import METHODS, to_scale, z_value

LARGEST = 10**9  # an n beyond this is no advice
SEARCHED = 5_000_000  # as far as the exact search goes


def n_to_decide(
    value: float, low: float, high: float, n: int, threshold: float, *, method: str = "", level: float = 0.95
) -> int | None:
    """The n at which `threshold` would leave the interval if the value, and how rows cluster, stayed as they are.

    `low`..`high` is the interval on n at `level`. Wilson's method is inverted exactly, with the design effect read off
    the interval; other methods shrink as 1/sqrt(n) on their own scale (`METHODS`). None when the value sits on the
    threshold, the interval has no width, or the n is beyond a billion. Never less than n.
    """
    if value == threshold or n <= 0 or not low <= value <= high:
        return None
    if not low <= threshold <= high:
        return n
    scale = METHODS[method][0] if method in METHODS else "plain"
    if scale == "score":
        needed = _n_wilson(value, low, high, n, threshold, level)
    else:
        end = low if threshold < value else high
        needed = None
        if end != value:
            centre, edge, target = (to_scale(x, scale) for x in (value, end, threshold))
            if not all(math.isfinite(x) for x in (centre, edge, target)):
                centre, edge, target = value, end, threshold
            needed = n * ((centre - edge) / (centre - target)) ** 2
    if needed is None or needed > LARGEST:
        return None
    return max(n, math.ceil(needed - 1e-9))


def _n_wilson(value: float, low: float, high: float, n: int, threshold: float, level: float) -> float | None:
    if not 0 < threshold < 1:
        return None  # a proportion's interval never leaves 0 or 1 behind
    z = z_value(level)
    # An end e of the Wilson interval solves (value - e)² = z² e (1 - e) / n: it tells the effective n.
    ends = [end for end in (low, high) if 0 < end < 1 and end != value]
    if not ends:
        return None
    end = max(ends, key=lambda e: abs(value - e))
    effective = z * z * end * (1 - end) / (value - end) ** 2
    return z * z * threshold * (1 - threshold) / (value - threshold) ** 2 * (n / effective)


def n_for_proportion(
    bound: float, expected: float, *, level: float = 0.95, chance: float = 0.8, design_effect: float = 1.0
) -> int:
    """The n from which a Wilson interval leaves `bound` with at least `chance` if the true proportion is `expected`.

    Exact: binomial probabilities of the counts that decide. The probability is a saw-tooth; the n returned is the first
    from which it stays at `chance` or above. Raises ValueError when expected equals bound.
    """
    from scipy.special import bdtr, bdtrc

    if not 0 < bound < 1 or not 0 <= expected <= 1 or expected == bound:
        raise ValueError(f"a proportion of {expected} against a bound of {bound}: no n decides")
    if not 0 < chance < 1:
        raise ValueError(f"chance must lie between 0 and 1, not {chance}")
    z = z_value(level)
    better = expected > bound
    guess = (z * math.sqrt(bound * (1 - bound)) + 3 * math.sqrt(expected * (1 - expected))) / (expected - bound)
    if guess**2 > SEARCHED:
        raise ValueError(f"{expected} is too close to {bound}: more than {SEARCHED} rows would be needed")
    start, top = 1, 256
    while True:
        n = np.arange(start, top + 1)
        half = z * np.sqrt(n * bound * (1 - bound))
        # The interval leaves the bound exactly when the score test of the bound rejects.
        if better:
            least = np.ceil(n * bound + half - 1e-9)
            probability = np.where(least > n, 0.0, bdtrc(least - 1, n, expected))
            probability = np.where(least <= 0, 1.0, probability)
        else:
            most = np.floor(n * bound - half + 1e-9)
            probability = np.where(most < 0, 0.0, bdtr(np.maximum(most, 0), n, expected))
        short = np.flatnonzero(probability < chance)
        # Past twice the last failure the saw's teeth are far above the chance.
        last = n[short[-1]] if len(short) else start - 1
        if last * 2 < top:
            return math.ceil((int(last) + 1) * design_effect)
        start, top = max(1, int(last)), top * 2


def n_for_auroc(
    bound: float,
    expected: float,
    prevalence: float,
    *,
    level: float = 0.95,
    chance: float = 0.8,
    design_effect: float = 1.0,
) -> int:
    """The n from which the AUROC's interval leaves `bound` with at least `chance` if the truth is `expected`.

    Normal approximation with the Hanley-McNeil variance (see `auroc_se`). Raises ValueError outside (0, 1).
    """
    from scipy.special import ndtri

    if not 0 < bound < 1 or not 0 < expected < 1 or expected == bound or not 0 < prevalence < 1:
        raise ValueError(f"AUROC {expected} against {bound} at prevalence {prevalence}: no n decides")
    reach = z_value(level) + max(float(ndtri(chance)), 0.0)
    n = _smallest(lambda m: reach * auroc_se(expected, m, prevalence) <= abs(expected - bound))
    return math.ceil(n * design_effect)


def auroc_se(theta: float, n: float, prevalence: float) -> float:
    """Standard error of an AUROC θ on n rows: Hanley and McNeil 1982 as modified by Newcombe 2006 (equation 5)."""
    star = n / 2 - 1
    spread = theta * (1 - theta) * (1 + star * (1 - theta) / (2 - theta) + star * theta / (1 + theta))
    return math.sqrt(spread / (n * n * prevalence * (1 - prevalence)))


@dataclass(frozen=True)
class DevelopmentSize:
    """Rows needed by each criterion of Riley 2020, the largest, and its events and events per parameter."""

    shrinkage: int
    optimism: int
    overall_risk: int
    n: int
    events: int
    events_per_parameter: float


def development_size(
    parameters: int,
    prevalence: float,
    r2_cox_snell: float,
    *,
    shrinkage: float = 0.9,
    optimism: float = 0.05,
    margin: float = 0.05,
) -> DevelopmentSize:
    """Minimum rows to develop a model of a binary outcome. Source: Riley et al., BMJ 2020;368:m441, criteria 1 to 3.

    `parameters`: candidate coefficients; `r2_cox_snell`: the (adjusted) Cox-Snell R² expected; `shrinkage`: the uniform
    shrinkage wanted; `optimism`: the difference allowed between apparent and adjusted Nagelkerke R²; `margin`: the
    half-width of the 95 % interval of the overall risk. Raises ValueError for an impossible R².
    """
    largest = max_r2_cox_snell(prevalence)
    if not 0 < r2_cox_snell < largest:
        raise ValueError(f"Cox-Snell R² must lie between 0 and {largest:.3f} at a prevalence of {prevalence}")
    if parameters < 1 or not 0 < shrinkage < 1:
        raise ValueError("at least one parameter and a shrinkage between 0 and 1 are needed")

    def for_shrinkage(s: float) -> int:
        return math.ceil(parameters / ((s - 1) * math.log(1 - r2_cox_snell / s)))

    needed = r2_cox_snell / (r2_cox_snell + optimism * largest)
    by_shrinkage, by_optimism = for_shrinkage(shrinkage), for_shrinkage(needed)
    by_risk = math.ceil((1.96 / margin) ** 2 * prevalence * (1 - prevalence))
    n = max(by_shrinkage, by_optimism, by_risk)
    return DevelopmentSize(
        by_shrinkage, by_optimism, by_risk, n, math.ceil(n * prevalence), n * prevalence / parameters
    )


def max_r2_cox_snell(prevalence: float) -> float:
    """The largest Cox-Snell R² a model of a binary outcome can have: 1 - exp(2 ln L₀ / n)."""
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, not {prevalence}")
    return 1 - math.exp(2 * (prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)))


@dataclass(frozen=True)
class ValidationSize:
    """Rows needed to validate: for O/E, the calibration slope and the c-statistic; the largest, and its events."""

    oe: int
    slope: int
    c_statistic: int
    n: int
    events: int


def validation_size(
    prevalence: float,
    c_statistic: float,
    linear_predictor: ArrayLike,
    *,
    oe_width: float = 0.2,
    slope_width: float = 0.2,
    c_width: float = 0.1,
    level: float = 0.95,
) -> ValidationSize:
    """Minimum rows to validate a model of a binary outcome to the interval widths asked for.

    `linear_predictor` (rows,): a sample of logit risks as expected in validation, taken as calibrated. Source: Riley et
    al., Statistics in Medicine 2021;40:4230. Raises ValueError for impossible values.
    """
    lp = np.asarray(linear_predictor, dtype=np.float64)
    if not 0 < prevalence < 1 or not 0 < c_statistic < 1 or lp.size < 2:
        raise ValueError("prevalence and c-statistic must lie in (0, 1), with a sample of linear predictors")
    z = z_value(level)
    # O/E = 1: width = e^{z se} - e^{-z se} = 2 sinh(z se), and se(ln O/E) = sqrt((1 - φ) / (n φ)).
    by_oe = math.ceil((1 - prevalence) / (prevalence * (math.asinh(oe_width / 2) / z) ** 2) - 1e-9)
    risk = 1 / (1 + np.exp(-lp))
    information = risk * (1 - risk)
    a, ab, b = (float((information * lp**k).mean()) for k in range(3))
    if a * b - ab * ab <= 0:
        raise ValueError("the linear predictor does not vary")
    by_slope = math.ceil(a / ((slope_width / (2 * z)) ** 2 * (a * b - ab * ab)) - 1e-9)
    by_c = _smallest(lambda m: 2 * z * auroc_se(c_statistic, m, prevalence) <= c_width)
    n = max(by_oe, by_slope, by_c)
    return ValidationSize(by_oe, by_slope, by_c, n, math.ceil(n * prevalence))


def _smallest(enough: Callable[[int], bool]) -> int:
    """The smallest n ≥ 2 that is enough, `enough` being monotone. Raises ValueError beyond a billion."""
    top = 2
    while not enough(top):
        top *= 2
        if top > LARGEST:
            raise ValueError("more than a billion rows would be needed")
    bottom = top // 2
    while top - bottom > 1:
        middle = (top + bottom) // 2
        bottom, top = (bottom, middle) if enough(middle) else (middle, top)
    return top
