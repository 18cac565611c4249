"""Metrics of a predicted number: errors, R², correlations, calibration line, Bland-Altman limits.

`y` is the truth, `predicted` the prediction (rows,), both in the target's unit. Standard errors are the sum of each
row's influence by subject.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.binary import mean_of_losses
from bedside.evidence.metrics.interval import Interval, normal_limits, z_value
from bedside.evidence.metrics.proportions import effective_n, wilson_limits
from bedside.evidence.metrics.ranking import tie_starts
from bedside.evidence.metrics.rows import Floats, Subjects, numbers, sample_weights


def _pairs(
    y: ArrayLike, predicted: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats, Subjects]:
    """Truth, prediction, share of each row (sum 1), subjects."""
    n = len(np.asarray(y))
    if n < 2:
        raise ValueError("fewer than two rows")
    w = sample_weights(weights, n)
    share = np.full(n, 1 / n) if w is None else w / w.sum()
    return numbers(y, n, "labels"), numbers(predicted, n, "predictions"), share, Subjects.of(subject, n)


def mae(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean absolute error, interval on the log scale. Raises ValueError when all errors are the same."""
    truth, guess, _, subjects = _pairs(y, predicted, subject, weights)
    return mean_of_losses(np.abs(truth - guess), subjects, sample_weights(weights, len(truth)), level)


def rmse(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Root mean squared error, interval on the log scale. Raises ValueError when all squared errors are the same."""
    truth, guess, _, subjects = _pairs(y, predicted, subject, weights)
    square = mean_of_losses((truth - guess) ** 2, subjects, sample_weights(weights, len(truth)), level)
    value, low, high = math.sqrt(square.value), math.sqrt(square.low), math.sqrt(square.high)
    return Interval(value, low, high, square.se / (2 * value), square.method, square.n_rows, square.n_subjects)


def r2(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """1 - Σ(y - ŷ)²/Σ(y - ȳ)², interval built on log(1 - R²). Raises ValueError for a constant truth or no error."""
    truth, guess, share, subjects = _pairs(y, predicted, subject, weights)
    centred = truth - float(np.einsum("r,r->", share, truth))
    spread = float(np.einsum("r,r->", share, centred**2))
    loss = (truth - guess) ** 2
    error = float(np.einsum("r,r->", share, loss))
    if spread <= 0:
        raise ValueError("constant truth: R² is undefined")
    if error <= 0:
        raise ValueError("every prediction is exact: no interval can be known")
    ratio = error / spread
    se = subjects.se(share * ((loss - error) - ratio * (centred**2 - spread)) / spread)
    low, high = normal_limits(ratio, se, level, "log")
    return Interval(1 - ratio, 1 - high, 1 - low, se, "delta_log" + subjects.suffix, len(truth), subjects.count)


def median_absolute_error(
    y: ArrayLike, predicted: ArrayLike, *, level: float = 0.95, subject: ArrayLike | None = None
) -> Interval:
    """Median absolute error with Woodruff's interval (1952): order statistics at Wilson limits of one half."""
    truth, guess, _, subjects = _pairs(y, predicted, subject, None)
    errors = np.abs(truth - guess)
    value = float(np.median(errors))
    n = len(errors)
    below = effective_n(errors <= value, 0.5, subjects, None)
    low_share, high_share = wilson_limits(0.5, below, level)
    ordered = np.sort(errors)
    low = float(ordered[max(math.ceil(n * low_share) - 1, 0)])
    high = float(ordered[min(math.floor(n * high_share), n - 1)])
    se = (high - low) / (2 * z_value(level))
    return Interval(value, min(low, value), max(high, value), se, "woodruff", n, subjects.count)


def pearson(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Pearson's correlation, interval on Fisher's z scale. Raises ValueError for a constant column or exact line."""
    truth, guess, share, subjects = _pairs(y, predicted, subject, weights)
    a, b = _standardised(truth, share, "truth"), _standardised(guess, share, "prediction")
    value = float(np.einsum("r,r,r->", share, a, b))
    return _correlation(value, share * (a * b - value * (a * a + b * b) / 2), subjects, level)


def spearman(y: ArrayLike, predicted: ArrayLike, *, level: float = 0.95, subject: ArrayLike | None = None) -> Interval:
    """Spearman's rank correlation (ties at mid-rank), interval on Fisher's z scale.

    The influence includes that of a row on the ranks of the others. Raises ValueError as `pearson`.
    """
    truth, guess, share, subjects = _pairs(y, predicted, subject, None)
    first, second = _Ranks(truth), _Ranks(guess)
    u, v = first.centred, second.centred
    spread_u, spread_v = float(np.mean(u * u)), float(np.mean(v * v))
    if spread_u <= 0 or spread_v <= 0:
        raise ValueError("constant " + ("truth" if spread_u <= 0 else "prediction") + ": a correlation is undefined")
    product = float(np.mean(u * v))
    value = product / math.sqrt(spread_u * spread_v)
    of_product = u * v + first.mean_above(v) + second.mean_above(u) - 3 * product
    of_u = u * u + 2 * first.mean_above(u) - 3 * spread_u
    of_v = v * v + 2 * second.mean_above(v) - 3 * spread_v
    influence = of_product / math.sqrt(spread_u * spread_v) - value / 2 * (of_u / spread_u + of_v / spread_v)
    return _correlation(value, share * influence, subjects, level)


class _Ranks:
    """Mid-ranks of a column."""

    def __init__(self, x: Floats) -> None:
        self.order = np.argsort(x, kind="stable")
        ordered = x[self.order]
        n = len(x)
        found = tie_starts(ordered)
        self.starts = np.arange(n) if found is None else found
        self.sizes = np.diff(np.append(self.starts, n))
        self.centred = np.empty(n)
        self.centred[self.order] = np.repeat(self.starts + self.sizes / 2, self.sizes) / n - 0.5

    def mean_above(self, values: Floats) -> Floats:
        """For each row the mean over all rows of values·[row ≤ it], ties half (rows,)."""
        in_run = np.add.reduceat(values[self.order], self.starts)
        above = np.cumsum(in_run[::-1])[::-1] - in_run / 2
        out = np.empty(len(values))
        out[self.order] = np.repeat(above, self.sizes) / len(values)
        return out


def _standardised(x: Floats, share: Floats, name: str) -> Floats:
    centred = x - float(np.einsum("r,r->", share, x))
    spread = math.sqrt(float(np.einsum("r,r,r->", share, centred, centred)))
    if spread <= 1e-14 * float(np.abs(x).max()):
        raise ValueError(f"constant {name}: a correlation is undefined")
    return centred / spread


def _correlation(value: float, influence: Floats, subjects: Subjects, level: float) -> Interval:
    value = max(-1.0, min(1.0, value))
    if abs(value) >= 1 - 1e-14:
        raise ValueError("the columns agree exactly: no interval can be known")
    se = subjects.se(influence)
    low, high = normal_limits(value, se, level, "fisher_z")
    return Interval(value, low, high, se, "delta_fisher_z" + subjects.suffix, len(influence), subjects.count)


def calibration_line(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> dict[str, Interval]:
    """`slope` and `intercept` of y = a + b·ŷ by least squares, and `bias` = mean(ŷ - y); sandwich by subject.

    Raises ValueError for a constant prediction.
    """
    truth, guess, share, subjects = _pairs(y, predicted, subject, weights)
    centre = float(np.einsum("r,r->", share, guess))
    spread = float(np.einsum("r,r->", share, (guess - centre) ** 2))
    if spread <= (1e-14 * float(np.abs(guess).max())) ** 2:
        raise ValueError("constant prediction: a calibration slope is undefined")
    mean = float(np.einsum("r,r->", share, truth))
    slope = float(np.einsum("r,r,r->", share, guess - centre, truth - mean)) / spread
    intercept = mean - slope * centre
    residual = truth - intercept - slope * guess
    on_slope = share * (guess - centre) * residual / spread
    gap = guess - truth
    bias = float(np.einsum("r,r->", share, gap))
    found = {}
    for name, value, influence in (
        ("slope", slope, on_slope),
        ("intercept", intercept, share * residual - centre * on_slope),
        ("bias", bias, share * (gap - bias)),
    ):
        se = subjects.se(influence)
        low, high = normal_limits(value, se, level, "plain")
        found[name] = Interval(value, low, high, se, "delta" + subjects.suffix, len(truth), subjects.count)
    return found


def bland_altman(
    y: ArrayLike, predicted: ArrayLike, *, coverage: float = 0.95, level: float = 0.95, subject: ArrayLike | None = None
) -> dict[str, Interval]:
    """`bias` of ŷ - y and the limits of agreement `lower`, `upper` = bias ∓ z·sd that hold `coverage` of differences.

    Source: Bland and Altman 1986; intervals from influence, by subject, instead of their normal approximation.
    """
    truth, guess, share, subjects = _pairs(y, predicted, subject, None)
    gap = guess - truth
    bias = float(gap.mean())
    n = len(gap)
    sd = math.sqrt(float(np.sum((gap - bias) ** 2)) / (n - 1))
    if sd == 0:
        raise ValueError("all differences are the same: no limits of agreement")
    z = z_value(coverage)
    on_sd = share * ((gap - bias) ** 2 - sd * sd * (n - 1) / n) / (2 * sd)
    found = {}
    for name, sign in (("bias", 0.0), ("lower", -1.0), ("upper", 1.0)):
        se = subjects.se(share * (gap - bias) + sign * z * on_sd)
        value = bias + sign * z * sd
        low, high = normal_limits(value, se, level, "plain")
        found[name] = Interval(value, low, high, se, "delta" + subjects.suffix, n, subjects.count)
    return found
