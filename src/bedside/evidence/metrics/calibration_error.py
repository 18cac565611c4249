"""How far forecasts are from calibrated: ICI, E50, E90, Emax of the flexible curve, and ECE over bins."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.calibration import Forecasts
from bedside.evidence.metrics.calibration_curve import design_of, fit_flexible
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.rows import Floats, Ints, Subjects, binned


def calibration_errors(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    knots: int | None = None,
    draws: int = 1000,
    seed: int,
) -> dict[str, Interval]:
    """`ici`, `e50`, `e90`, `emax`: mean, median, 90 % quantile and maximum of |curve(p) - p| over the rows.

    Source: Austin and Steyerberg 2019, with a restricted cubic spline. Intervals: percentiles over draws of the
    spline's coefficients from their sandwich distribution. These errors are positive even when calibration is
    perfect, so draws alone would never reach 0: `low` is 0 unless a Wald test rejects curve(p) = p at `level`.
    """
    return calibration_errors_of(Forecasts.of(y, p, subject, weights), level, knots, draws, seed)


def calibration_errors_of(
    rows: Forecasts, level: float, knots: int | None, draws: int, seed: int
) -> dict[str, Interval]:
    """`calibration_errors` on sorted rows."""
    from scipy.special import expit

    flexible = fit_flexible(rows, knots)
    beta, covariance = flexible.fit.coefficients, flexible.fit.covariance
    gap = np.abs(expit(np.einsum("t,tr->r", beta, design_of(flexible, rows.p))) - rows.p)
    values = _summary(gap[None, :], rows.weights)
    # The draws are read at up to 512 evenly spaced rows: they give the spread, not the value.
    n = len(rows.p)
    at = np.unique(np.linspace(0, n - 1, min(n, 512)).astype(np.int64))
    grid = rows.p[at]
    design = design_of(flexible, grid)
    drawn = beta + np.random.default_rng(seed).standard_normal((draws, len(beta))) @ symmetric_root(covariance)
    curves = expit(np.einsum("dt,tr->dr", drawn, design))
    mass = None if rows.weights is None else rows.weights[at]
    replicates = _summary(np.abs(curves - grid), mass)
    on_grid = _summary(np.abs(expit(np.einsum("t,tr->r", beta, design)) - grid)[None, :], mass)
    if flexible.terms == 1:
        perfect = np.array([rows.lp[0]])
    else:
        perfect = np.zeros(len(beta))
        perfect[1] = 1.0
    rejected = wald_rejects(beta - perfect, covariance, level)
    found = {}
    for k, name in enumerate(("ici", "e50", "e90", "emax")):
        value = float(values[0, k])
        moved = np.maximum(replicates[:, k] + (value - float(on_grid[0, k])), 0.0)
        found[name] = _distance_interval(value, moved, rejected, level, rows)
    return found


def _summary(gaps: Floats, weights: Floats | None) -> Floats:
    """Mean, median, 90 % quantile and maximum (curves, 4) of gaps (curves, rows)."""
    if weights is None:
        half, ninety = np.quantile(gaps, [0.5, 0.9], axis=1)
        return np.stack([gaps.mean(axis=1), half, ninety, gaps.max(axis=1)], axis=1)
    out = np.empty((len(gaps), 4))
    for k, gap in enumerate(gaps):
        order = np.argsort(gap, kind="stable")
        share = np.cumsum(weights[order]) / weights.sum()
        half, ninety = (gap[order[min(int(np.searchsorted(share, q - 1e-12)), len(gap) - 1)]] for q in (0.5, 0.9))
        out[k] = float(np.average(gap, weights=weights)), half, ninety, gap[weights > 0].max()
    return out


def symmetric_root(covariance: Floats) -> Floats:
    """The symmetric square root of a covariance: unique, so draws do not hang on an eigenvector's sign."""
    values, vectors = np.linalg.eigh(covariance)
    return cast(Floats, (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def wald_rejects(distance: Floats, covariance: Floats, level: float) -> bool:
    """Whether distance' covariance⁻¹ distance exceeds its chi-squared quantile; df is the rank."""
    from scipy.special import chdtri

    values, vectors = np.linalg.eigh(covariance)
    keep = values > values.max() * 1e-10
    if not bool(keep.any()):
        return bool(np.any(distance != 0))
    along = vectors[:, keep].T @ distance
    statistic = float(np.sum(along * along / values[keep]))
    return statistic > float(chdtri(int(keep.sum()), 1 - level))


def _distance_interval(value: float, replicates: Floats, rejected: bool, level: float, rows: Forecasts) -> Interval:
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    low = min(float(low), value) if rejected else 0.0
    method = "sandwich_draws" + rows.subjects.suffix
    se = float(replicates.std(ddof=1))
    return Interval(value, low, max(float(high), value), se, method, len(rows.p), rows.subjects.count)


def ece(
    y: ArrayLike,
    p: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    draws: int = 1000,
    seed: int,
) -> Interval:
    """Expected calibration error Σ_bins (share of rows) |mean y - mean p| over equal-mass bins.

    Bin edges are quantiles of p as in scikit-learn's `calibration_curve(strategy="quantile")`: equal forecasts share a
    bin. Interval as in `calibration_errors`, from the joint normal distribution of the bins' deviations.
    """
    return ece_of(Forecasts.of(y, p, subject, weights), level, bins, draws, seed)


def ece_of(rows: Forecasts, level: float, bins: int, draws: int, seed: int) -> Interval:
    """`ece` on sorted rows."""
    if bins < 1:
        raise ValueError(f"{bins} bins")
    n = len(rows.p)
    edges = np.percentile(rows.p, np.linspace(0, 100, bins + 1))[1:-1]
    ends = np.unique(np.append(np.searchsorted(rows.p, edges, side="right"), n))
    ends = ends[ends > 0]
    starts = np.concatenate([[0], ends[:-1]])
    share = np.full(n, 1 / n) if rows.weights is None else rows.weights / rows.weights.sum()
    term = share * (rows.truth - rows.p)
    deviation = np.add.reduceat(term, starts)
    covariance = _deviation_covariance(rows.subjects, share, term, deviation, starts, ends)
    normal = np.random.default_rng(seed).standard_normal((draws, len(deviation)))
    replicates = np.abs(deviation + normal @ symmetric_root(covariance)).sum(axis=1)
    rejected = wald_rejects(deviation, covariance, level)
    return _distance_interval(float(np.abs(deviation).sum()), replicates, rejected, level, rows)


def _deviation_covariance(
    subjects: Subjects, share: Floats, term: Floats, deviation: Floats, starts: Ints, ends: Ints
) -> Floats:
    """Covariance (bins, bins) of the bins' deviations; a row adds term·1[in bin] - share·deviation to each."""
    if subjects.count < 2:
        raise ValueError("one subject only: no interval can be known")
    if subjects.codes is not None:
        every = binned(subjects.codes, share)
        totals = np.outer(deviation, -every)
        for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
            totals[k] += binned(subjects.codes[start:end], term[start:end], len(every))
        squares = np.einsum("ki,li->kl", totals, totals)
    else:  # the same, multiplied out: no (bins, rows) array
        cross = np.outer(deviation, np.add.reduceat(term * share, starts))
        squares = np.diag(np.add.reduceat(term * term, starts)) - cross - cross.T
        squares += float(np.einsum("r,r->", share, share)) * np.outer(deviation, deviation)
    return np.asarray(squares * (subjects.count / (subjects.count - 1)), dtype=np.float64)
