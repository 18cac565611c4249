"""Calibration of probabilities: in the large, slope, and observed over expected.

The logistic models use lp = logit(p) with p kept within [1e-6, 1 - 1e-6] (`LOGIT_EDGE`): a forecast of exactly 0 or 1
has no logit. Every standard error is a sandwich whose unit is the subject.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics import logistic
from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.rows import Bools, Floats, Subjects, both_classes, labels, probabilities, sample_weights

LOGIT_EDGE = 1e-6
COARSE = 2048  # slices of sorted rows whose means start Newton's method close to the answer


@dataclass(frozen=True)
class Forecasts:
    """Checked rows in ascending order of probability, with their logit."""

    y: Bools
    p: Floats
    lp: Floats
    weights: Floats | None
    subjects: Subjects

    @classmethod
    def of(cls, y: ArrayLike, p: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None) -> Forecasts:
        """Check and sort. Raises ValueError."""
        checked = labels(y)
        n = len(checked)
        forecast, own, subjects = probabilities(p, n), sample_weights(weights, n), Subjects.of(subject, n)
        order = np.argsort(forecast, kind="stable")
        codes = None if subjects.codes is None else subjects.codes[order]
        sorted_p = forecast[order]
        own = None if own is None else own[order]
        return cls(checked[order], sorted_p, logit(sorted_p), own, Subjects(codes, subjects.count))

    @property
    def truth(self) -> Floats:
        """y as numbers."""
        return self.y.astype(np.float64)

    def separated(self) -> bool:
        """No event scores below a non-event, or the reverse: a slope has no finite estimate."""
        first, last = self.p[self.y], self.p[~self.y]
        return bool(first[0] >= last[-1]) or bool(last[0] >= first[-1])


def logit(p: ArrayLike, edge: float = LOGIT_EDGE) -> Floats:
    """logit of p kept within [edge, 1 - edge]."""
    from scipy.special import logit as exact

    return np.asarray(exact(np.clip(p, edge, 1 - edge)), dtype=np.float64)


def calibration_in_the_large(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Intercept a of logit P(y) = a + 1·lp: 0 when the mean risk is right. Raises ValueError for one class."""
    return calibration_in_the_large_of(Forecasts.of(y, p, subject, weights), level)


def calibration_in_the_large_of(rows: Forecasts, level: float) -> Interval:
    """`calibration_in_the_large` on sorted rows."""
    both_classes(rows.y, rows.weights)
    design = np.ones((1, len(rows.y)))
    return _coefficient(rows, design, 0, level, offset=rows.lp)


def calibration_slope(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Slope b of logit P(y) = a + b·lp: below 1 when forecasts are too extreme. Source: Cox 1958; Miller 1993.

    Raises ValueError for one class, a constant forecast, or perfect separation.
    """
    return calibration_slope_of(Forecasts.of(y, p, subject, weights), level)


def calibration_slope_of(rows: Forecasts, level: float) -> Interval:
    """`calibration_slope` on sorted rows."""
    both_classes(rows.y, rows.weights)
    if rows.lp[0] == rows.lp[-1]:
        raise ValueError("constant forecast: a calibration slope is undefined")
    if rows.separated():
        raise ValueError("the forecast separates the outcome: the calibration slope is infinite")
    return _coefficient(rows, np.stack([np.ones(len(rows.y)), rows.lp]), 1, level)


def _coefficient(rows: Forecasts, design: Floats, which: int, level: float, offset: Floats | None = None) -> Interval:
    found = recalibrate(rows, design, offset)
    value, se = float(found.coefficients[which]), math.sqrt(float(found.covariance[which, which]))
    low, high = normal_limits(value, se, level, "plain")
    return Interval(value, low, high, se, "sandwich" + rows.subjects.suffix, len(rows.y), rows.subjects.count)


def recalibrate(rows: Forecasts, design: Floats, offset: Floats | None = None) -> logistic.LogisticFit:
    """Logistic fit of the labels on a design (terms, rows); many rows are fitted by slice means first."""
    y, n = rows.truth, len(rows.y)
    start = None
    if n > 4 * COARSE:
        edges = np.linspace(0, n, COARSE + 1).astype(np.int64)[:-1]
        mass = np.ones(n) if rows.weights is None else rows.weights
        total = np.add.reduceat(mass, edges)
        if bool((total > 0).all()):

            def mean(x: Floats) -> Floats:
                return np.add.reduceat(x * mass, edges, axis=-1) / total

            coarse_offset = None if offset is None else mean(offset)
            try:
                start = logistic.fit(mean(design), mean(y), offset=coarse_offset, weights=total)
            except ValueError:
                start = None  # the means say nothing of where to start; the rows themselves decide below
    beta = logistic.fit(design, y, offset=offset, weights=rows.weights, start=start)
    return logistic.sandwich(design, y, beta, rows.subjects, offset=offset, weights=rows.weights)


def oe_ratio(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Observed events over expected events Σy / Σp, interval on the log scale. Source: Debray 2017.

    Rows (y, p) are taken as drawn together, subject by subject. Raises ValueError without an event or with Σp = 0.
    """
    return oe_ratio_of(Forecasts.of(y, p, subject, weights), level)


def oe_ratio_of(rows: Forecasts, level: float) -> Interval:
    """`oe_ratio` on checked rows."""
    w = np.ones(len(rows.y)) if rows.weights is None else rows.weights
    observed = float(np.einsum("r,r->", w, rows.truth))
    expected = float(np.einsum("r,r->", w, rows.p))
    if observed <= 0 or expected <= 0:
        raise ValueError("no event " + ("observed" if observed <= 0 else "expected") + ": O/E has no interval")
    value = observed / expected
    se = rows.subjects.se(w * (rows.truth / observed - rows.p / expected) * value)
    low, high = normal_limits(value, se, level, "log")
    return Interval(value, low, high, se, "delta_log" + rows.subjects.suffix, len(rows.y), rows.subjects.count)
