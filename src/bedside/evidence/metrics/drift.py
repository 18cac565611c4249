"""Drift: how far the distribution of what comes in lies from that of training, with an interval.

Effect sizes and not p-values, so that many rows do not make a small shift an alarm, nor few rows a large one none. `n`
and `n_reference` are the numbers of independent units behind the two samples (patients, where rows cluster in them).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bedside.evidence.metrics.interval import Interval, mover
from bedside.evidence.metrics.proportions import wilson

Floats = NDArray[np.float64]


def ks(values: ArrayLike, reference: ArrayLike, *, n: int, n_reference: int, level: float = 0.95) -> Interval:
    """The Kolmogorov-Smirnov distance of two samples (rows,), (rows of the reference,), in 0..1.

    Its interval holds at every n: the Dvoretzky-Kiefer-Wolfowitz bounds of both distribution functions, with Massart's
    constant. Source: Massart 1990. Raises ValueError for an empty sample.
    """
    new, old = _sorted(values), _sorted(reference)
    _check(n, n_reference)
    at = np.concatenate([new, old])
    gap = np.searchsorted(new, at, "right") / len(new) - np.searchsorted(old, at, "right") / len(old)
    distance = float(np.abs(gap).max())
    return _dkw(distance, distance, n, n_reference, level, len(new))


def ks_to_quantiles(
    values: ArrayLike, levels: ArrayLike, quantiles: ArrayLike, *, n: int, n_reference: int, level: float = 0.95
) -> Interval:
    """The same where of the reference only quantiles are known: `quantiles` (k,) at `levels` (k,), both rising.

    Of the reference's distribution function F nothing more is known than F(q-) ≤ p ≤ F(q) at each quantile. The value
    is the least distance that agrees with it, and the upper limit begins at the greatest. Quantiles equal to the first
    or last, which may have been drawn in to hide single patients, bound it on their inner side alone.
    """
    new = _sorted(values)
    _check(n, n_reference)
    p, q = np.asarray(levels, dtype=np.float64), np.asarray(quantiles, dtype=np.float64)
    upto, below = np.searchsorted(new, q, "right") / len(new), np.searchsorted(new, q, "left") / len(new)
    too_few = np.where(q < q[-1], p - upto, 0.0)
    too_many = np.where(q > q[0], below - p, 0.0)
    least = max(0.0, float(too_few.max()), float(too_many.max()))
    at = np.concatenate([new, q])
    mine = np.searchsorted(new, at, "right") / len(new)
    # F at x lies between the level of the last quantile up to x and that of the first beyond it.
    place = np.searchsorted(q, at, "right")
    floor = np.where(place > 0, p[np.maximum(place - 1, 0)], 0.0)
    ceiling = np.where(place < len(q), p[np.minimum(place, len(q) - 1)], 1.0)
    most = float(np.maximum(np.abs(mine - floor), np.abs(mine - ceiling)).max())
    return _dkw(least, max(least, most), n, n_reference, level, len(new))


def psi(counts: ArrayLike, shares: ArrayLike, *, n: int, n_reference: int, level: float = 0.95) -> Interval:
    """The population stability index Σ(p − r) ln(p / r) of `counts` (k,) against the reference's `shares` (k,).

    Half a unit is added to each count. Without a shift the index goes as (1/n + 1/m) χ²(k − 1), so that few rows alone
    give a large one: that bias is taken off, and the interval is that of the noncentrality. Source: Siddiqi 2006;
    Yurdakul and Naranjo 2020. Raises ValueError for fewer than two categories or no rows.
    """
    p, r, rows = _shares(counts, shares, n, n_reference, half=0.5)
    return _noncentral(float(((p - r) * np.log(p / r)).sum()), len(p) - 1, n, n_reference, level, rows, root=False)


def cohens_w(counts: ArrayLike, shares: ArrayLike, *, n: int, n_reference: int, level: float = 0.95) -> Interval:
    """Cohen's w of the χ² test of homogeneity, its bias taken off, with the interval of the noncentrality.

    w² = Σ (p − r)² / pooled, over the categories that either has. It differs from nothing where the test says so.
    Source: Cohen 1988; Smithson 2003. Raises as `psi`.
    """
    p, r, rows = _shares(counts, shares, n, n_reference, half=0.0)
    pooled = (n * p + n_reference * r) / (n + n_reference)
    there = pooled > 0
    found = float((np.square(p - r)[there] / pooled[there]).sum())
    df = int(there.sum()) - 1
    if df < 1:
        raise ValueError("constant: one category alone")
    return _noncentral(found, df, n, n_reference, level, rows, root=True)


def share_difference(
    count: float, rows: float, share: float, *, n: int, n_reference: int, level: float = 0.95
) -> Interval:
    """count/rows minus the reference's share, by Wilson intervals combined. Source: Newcombe 1998, method 10."""
    _check(n, n_reference)
    if rows < 1:
        raise ValueError("no rows")
    mine, theirs = wilson(count / rows * n, n, level=level), wilson(share * n_reference, n_reference, level=level)
    low, high = mover((mine.value, mine.low, mine.high), (-theirs.value, -theirs.high, -theirs.low))
    se = math.hypot(mine.se, theirs.se)
    return Interval(mine.value - theirs.value, low, high, se, "mover_wilson", round(rows), n)


def _sorted(values: ArrayLike) -> Floats:
    out = np.sort(np.asarray(values, dtype=np.float64))
    if len(out) == 0:
        raise ValueError("no rows")
    if not np.isfinite(out).all():
        raise ValueError("values must be finite")
    return out


def _check(n: int, n_reference: int) -> None:
    if n < 1 or n_reference < 1:
        raise ValueError("no rows")


def _dkw(least: float, most: float, n: int, n_reference: int, level: float, rows: int) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    half = math.sqrt(math.log(4 / (1 - level)) / 2) * (1 / math.sqrt(n) + 1 / math.sqrt(n_reference))
    return Interval(least, max(0.0, least - half), min(1.0, most + half), half, "dkw", rows, n)


def _shares(counts: ArrayLike, shares: ArrayLike, n: int, n_reference: int, half: float) -> tuple[Floats, Floats, int]:
    _check(n, n_reference)
    seen, known = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if len(seen) != len(known) or len(seen) < 2:
        raise ValueError("constant: one category alone")
    rows = float(seen.sum())
    if rows < 1 or not known.sum() > 0:
        raise ValueError("no rows")
    p, r = seen / rows * n + half, known / known.sum() * n_reference + half
    return p / p.sum(), r / r.sum(), round(rows)


def _noncentral(index: float, df: int, n: int, n_reference: int, level: float, rows: int, *, root: bool) -> Interval:
    """The interval of an index that goes as `scale` times a noncentral χ², by inverting its distribution."""
    from scipy.special import chndtr, chndtrinc

    scale = 1 / n + 1 / n_reference
    x, tail = index / scale, (1 - level) / 2
    limits = []
    for p in (1 - tail, tail):
        limits.append(0.0 if chndtr(x, df, 0.0) <= p else float(chndtrinc(x, df, p)) * scale)
    value = min(max(max(0.0, x - df) * scale, limits[0]), limits[1])
    se = scale * math.sqrt(2 * (df + 2 * max(0.0, x - df)))
    if root:
        value, limits, se = math.sqrt(value), [math.sqrt(each) for each in limits], math.sqrt(se)
    return Interval(value, limits[0], limits[1], se, "noncentral_chi_square", rows, n)
