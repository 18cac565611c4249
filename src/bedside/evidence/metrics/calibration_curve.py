"""The flexible calibration curve: observed risk as a restricted cubic spline of the forecast's logit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.calibration import Forecasts, logit, recalibrate
from bedside.evidence.metrics.interval import z_value
from bedside.evidence.metrics.logistic import LogisticFit
from bedside.evidence.metrics.rows import Floats, both_classes, probabilities

# Harrell 2015, Regression Modeling Strategies, table 2.3.
KNOT_QUANTILES = {3: (0.10, 0.5, 0.90), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed risk against forecast: `p` the forecasts (points,), `observed` with its pointwise band `low`..`high`.

    `knots` are on the logit scale; fewer than three knots means a straight line there, none with one forecast value.
    """

    p: Floats
    observed: Floats
    low: Floats
    high: Floats
    knots: tuple[float, ...]
    method: str


@dataclass(frozen=True)
class Flexible:
    """A fitted curve: coefficients, knots on the logit scale, and how many terms (1: the event rate alone)."""

    fit: LogisticFit
    knots: tuple[float, ...]
    terms: int


def calibration_curve(
    y: ArrayLike,
    p: ArrayLike,
    *,
    at: ArrayLike | None = None,
    knots: int | None = None,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationCurve:
    """Flexible logistic calibration curve: restricted cubic spline of lp, with a pointwise sandwich band.

    `at`: forecasts where it is wanted (default: 101 quantiles of p). `knots`: 3, 4 or 5 at Harrell's quantiles;
    default 5 with ≥ 100 rows in the smaller class, 4 with ≥ 50, else 3; fewer when p takes too few values. Source:
    Harrell 2015; Van Calster 2016. Raises ValueError for one class or separation.
    """
    rows = Forecasts.of(y, p, subject, weights)
    flexible = fit_flexible(rows, knots)
    points = np.unique(np.quantile(rows.p, np.linspace(0, 1, 101))) if at is None else np.asarray(at, dtype=np.float64)
    points = probabilities(points, len(points), "at")
    observed, low, high = _band(flexible, points, level)
    return CalibrationCurve(points, observed, low, high, flexible.knots, "sandwich" + rows.subjects.suffix)


def spline_basis(x: Floats, knots: tuple[float, ...]) -> Floats:
    """Restricted cubic spline (1 + 1 + len(knots) - 2, rows): constant, x, and terms linear beyond the end knots."""
    terms = [np.ones(len(x)), x]
    if len(knots) >= 3:
        last, before = knots[-1], knots[-2]
        norm = (last - knots[0]) ** 2

        def cube(knot: float) -> Floats:
            d = np.maximum(x - knot, 0.0)
            return d * d * d

        tail, tail_before = cube(last), cube(before)
        for knot in knots[:-2]:
            a, b = (last - knot) / (last - before), (before - knot) / (last - before)
            terms.append((cube(knot) - a * tail_before + b * tail) / norm)
    return np.stack(terms)


def fit_flexible(rows: Forecasts, knots: int | None) -> Flexible:
    """Fit the curve to sorted rows; see `calibration_curve`."""
    with_event, _ = both_classes(rows.y)
    both_classes(rows.y, rows.weights)
    if knots is None:
        fewer = min(with_event, len(rows.y) - with_event)
        knots = 5 if fewer >= 100 else 4 if fewer >= 50 else 3
    if knots not in KNOT_QUANTILES:
        raise ValueError(f"{knots} knots: choose 3, 4 or 5")
    if rows.lp[0] == rows.lp[-1]:  # one forecast: its curve is the event rate
        return Flexible(recalibrate(rows, np.ones((1, len(rows.y)))), (), 1)
    if rows.separated():
        raise ValueError("the forecast separates the outcome: no calibration curve")
    where: tuple[float, ...] = ()
    while knots >= 3:
        # An order statistic, so that doubling every row moves no knot.
        at = np.quantile(rows.lp, KNOT_QUANTILES[knots], method="inverted_cdf")
        if len(np.unique(at)) == knots:
            where = tuple(float(knot) for knot in at)
            break
        knots -= 1
    return Flexible(recalibrate(rows, spline_basis(rows.lp, where)), where, max(2, len(where)))


def design_of(flexible: Flexible, p: Floats) -> Floats:
    """The design (terms, points) of a fitted curve at forecasts p."""
    return np.ones((1, len(p))) if flexible.terms == 1 else spline_basis(logit(p), flexible.knots)


def _band(flexible: Flexible, p: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    from scipy.special import expit

    design = design_of(flexible, p)
    eta = np.einsum("t,tr->r", flexible.fit.coefficients, design)
    half = z_value(level) * np.sqrt(np.maximum(np.einsum("tr,ts,sr->r", design, flexible.fit.covariance, design), 0.0))
    return expit(eta), expit(eta - half), expit(eta + half)
