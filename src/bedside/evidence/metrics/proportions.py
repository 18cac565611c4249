"""Intervals of a proportion: Wilson, Clopper-Pearson, Beta; of rows clustered in subjects by their effective number."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, z_value
from bedside.evidence.metrics.rows import Floats, Subjects, labels, sample_weights

Method = Literal["wilson", "clopper_pearson", "jeffreys"]


def interval(events: float, n: float, method: Method, *, level: float = 0.95) -> Interval:
    """The interval of events/n by a method's name. Raises ValueError for another name, and as `wilson`."""
    made = {"wilson": wilson, "clopper_pearson": clopper_pearson, "jeffreys": jeffreys}.get(method)
    if made is None:
        raise ValueError(f"interval {method!r}: choose wilson, clopper_pearson or jeffreys")
    return made(events, n, level=level)


def wilson(events: float, n: float, *, level: float = 0.95) -> Interval:
    """Wilson score interval of events/n; either may be fractional (an effective sample size).

    Source: Wilson 1927; Newcombe 1998, method 3. Raises ValueError unless 0 ≤ events ≤ n and n > 0.
    """
    _counts(events, n)
    low, high = wilson_limits(events / n, n, level)
    p = events / n
    return Interval(p, low, high, math.sqrt(p * (1 - p) / n), "wilson", round(n), round(n))


def wilson_limits(p: float, n: float, level: float) -> tuple[float, float]:
    """The Wilson limits of proportion p on n."""
    z = z_value(level)
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return 0.0 if p == 0 else max((centre - half) / scale, 0.0), 1.0 if p == 1 else min((centre + half) / scale, 1.0)


def clopper_pearson(events: float, n: float, *, level: float = 0.95) -> Interval:
    """Clopper-Pearson exact interval of events/n. Source: Clopper and Pearson 1934. Raises ValueError as `wilson`."""
    from scipy.special import betaincinv

    _counts(events, n)
    z_value(level)  # checks the level
    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(betaincinv(events, n - events + 1, tail))
    high = 1.0 if events == n else float(betaincinv(events + 1, n - events, 1 - tail))
    p = events / n
    return Interval(p, low, high, math.sqrt(p * (1 - p) / n), "clopper_pearson", round(n), round(n))


def jeffreys(events: float, n: float, *, level: float = 0.95) -> Interval:
    """Equal-tailed Beta(events + 1/2, n - events + 1/2) interval; low is 0 at no event, high is 1 at n events.

    Source: Brown, Cai and DasGupta 2001. Raises ValueError as `wilson`.
    """
    from scipy.special import betaincinv

    _counts(events, n)
    z_value(level)
    tail = (1 - level) / 2
    low = 0.0 if events == 0 else float(betaincinv(events + 0.5, n - events + 0.5, tail))
    high = 1.0 if events == n else float(betaincinv(events + 0.5, n - events + 0.5, 1 - tail))
    p = events / n
    return Interval(p, low, high, math.sqrt(p * (1 - p) / n), "jeffreys", round(n), round(n))


def proportion(
    hit: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    method: Method = "wilson",
) -> Interval:
    """Share of rows with hit = 1 (rows,), with an interval whose n is the effective sample size.

    The design effect is that of the ratio estimator Σwh/Σw with subjects as clusters; where it cannot be seen (a share
    of 0 or 1, the same share in every subject) every subject counts once (Kish 1965). With one unweighted row a subject
    this is the plain interval. Source: Korn and Graubard 1998; Saha, Miller and Wang 2016. Raises ValueError when
    empty.
    """
    hits = labels(hit)
    return proportion_of(hits, Subjects.of(subject, len(hits)), sample_weights(weights, len(hits)), level, method)


def proportion_of(
    hit: Floats | np.ndarray, subjects: Subjects, weights: Floats | None, level: float, method: Method = "wilson"
) -> Interval:
    """`proportion` on checked rows."""
    n = len(hit)
    if weights is None and subjects.codes is None:
        return interval(float(np.count_nonzero(hit)), n, method, level=level)
    if weights is None:
        p = float(np.count_nonzero(hit)) / n
    else:
        total = float(weights.sum())
        if not total > 0:
            raise ValueError("no row with a weight above 0")
        p = float(np.einsum("i,i->", weights, hit.astype(np.float64))) / total
    n_effective = effective_n(hit, p, subjects, weights)
    found = interval(p * n_effective, n_effective, method, level=level)
    return Interval(p, found.low, found.high, found.se, method + subjects.suffix, n, subjects.count)


def effective_n(hit: np.ndarray, p: float, subjects: Subjects, weights: Floats | None) -> float:
    """The number of independent rows that would give the variance of Σwh/Σw over these subjects, at most Kish's n.

    No small-sample factor is used, so that one row a subject gives n exactly and doubling every row changes nothing.
    """
    w = np.ones(len(hit)) if weights is None else weights
    total = float(w.sum())
    by_subject = subjects.sums(w)
    whole = total * total / float(np.einsum("i,i->", by_subject, by_subject))
    if p <= 0 or p >= 1:
        return whole
    residual = subjects.sums(w * (hit - p))
    variance = float(np.einsum("i,i->", residual, residual)) / (total * total)
    kish = total * total / float(np.einsum("i,i->", w, w))
    # All subjects alike, or one alone: no spread between them is seen, and each counts once.
    return whole if variance <= 1e-12 * p * (1 - p) / kish else min(p * (1 - p) / variance, kish)


def _counts(events: float, n: float) -> None:
    if not n > 0:
        raise ValueError("no rows: a proportion of nothing is undefined")
    if not 0 <= events <= n:
        raise ValueError(f"{events} events among {n} rows")
