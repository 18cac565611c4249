"""The bootstrap over subjects: weights and percentile intervals of any weighted statistic.

A replicate gives every subject a weight, Poisson(1) or multinomial, and all rows of a subject that weight; nothing is
copied or sorted again. Subjects are coded in order of first appearance by the caller. One generator, `seed`, is read
replicate after replicate, so results do not depend on how the work is blocked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, z_value
from bedside.evidence.metrics.rows import Floats, Subjects

Scheme = Literal["poisson", "multinomial"]
BLOCK_BYTES = 32 * 2**20
UNDEFINED_SHARE = 0.05  # more undefined replicates than this and the interval is refused


def subject_weights(
    subjects: int, replicates: int, *, seed: int, scheme: Scheme = "poisson", block: int | None = None
) -> Iterator[Floats]:
    """Blocks (≤ block, subjects) of bootstrap weights, `replicates` in all.

    Poisson weights (Hanley and MacGibbon 2006; Chamandy 2012) are drawn by inverting 32-bit uniforms; multinomial
    ones count `subjects` draws with replacement. The values do not depend on `block`.
    """
    if subjects < 2:
        raise ValueError("one subject only: nothing to resample")
    if replicates < 2:
        raise ValueError(f"{replicates} replicates: at least 2 are needed")
    rng = np.random.default_rng(seed)
    step = block if block is not None else max(1, BLOCK_BYTES // (8 * subjects))
    cut = _poisson_cuts()
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        weights = np.zeros((size, subjects))
        for row in weights:
            if scheme == "poisson":
                uniform = rng.integers(0, 2**32, size=subjects, dtype=np.uint32)
                counts = np.zeros(subjects, dtype=np.uint8)
                for threshold in cut:
                    counts += uniform >= threshold
                row[:] = counts
            else:
                row[:] = np.bincount(rng.integers(0, subjects, size=subjects), minlength=subjects)
        yield weights


def _poisson_cuts() -> list[np.uint32]:
    """P(X ≤ k) · 2³² of a Poisson(1) variable, while below 2³²."""
    cuts, term, total = [], math.exp(-1.0), 0.0
    for k in range(1, 20):
        total += term
        scaled = round(total * 2**32)
        if scaled >= 2**32:
            break
        cuts.append(np.uint32(scaled))
        term /= k
    return cuts


def bootstrap(
    statistic: Callable[[Floats], ArrayLike],
    n: int,
    *,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    replicates: int = 1000,
    seed: int,
    scheme: Scheme = "poisson",
    block: int | None = None,
) -> tuple[Floats, Floats]:
    """A weighted statistic on all n rows and on every replicate.

    `statistic` takes row weights (b, n) and returns (b,) or (b, k) values, nan where undefined. Returns the point
    value(s) (k,) and the replicates (replicates, k). `weights` are the rows' own weights.
    """
    subjects = Subjects.of(subject, n)
    own = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = None if subjects.codes is None else np.unique(subjects.codes, return_inverse=True)[1]
    point = _two_dimensional(statistic(own[None, :]), 1)
    out = np.empty((replicates, point.shape[1]))
    done = 0
    step = block if block is not None else max(1, BLOCK_BYTES // (8 * n))
    for chunk in subject_weights(subjects.count, replicates, seed=seed, scheme=scheme, block=step):
        by_row = chunk if codes is None else chunk[:, codes]
        out[done : done + len(chunk)] = _two_dimensional(statistic(by_row * own), len(chunk))
        done += len(chunk)
    return point[0], out


def _two_dimensional(values: ArrayLike, rows: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(rows, -1)


def percentile_limits(values: Floats, level: float) -> tuple[float, float, float]:
    """Low, high and standard deviation of replicates (replicates,), undefined (nan) ones left out.

    Raises ValueError when more than 1 in 20 is undefined: too few events to resample.
    """
    z_value(level)
    defined = values[~np.isnan(values)]
    if len(defined) < 2 or len(defined) < (1 - UNDEFINED_SHARE) * len(values):
        raise ValueError(
            f"undefined in {len(values) - len(defined)} of {len(values)} bootstrap samples: too few events"
        )
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), float(defined.std(ddof=1))


def bootstrap_interval(
    statistic: Callable[[Floats], ArrayLike],
    n: int,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    replicates: int = 1000,
    seed: int,
    scheme: Scheme = "poisson",
) -> Interval:
    """Percentile interval of one weighted statistic over bootstrap samples of subjects; see `bootstrap`.

    Raises ValueError when the statistic is undefined on the rows themselves or on more than 1 in 20 samples.
    """
    point, values = bootstrap(
        statistic, n, subject=subject, weights=weights, replicates=replicates, seed=seed, scheme=scheme
    )
    if len(point) != 1 or not math.isfinite(point[0]):
        raise ValueError("the statistic is undefined on these rows")
    low, high, se = percentile_limits(values[:, 0], level)
    return Interval(float(point[0]), low, high, se, "bootstrap_subject", n, Subjects.of(subject, n).count)
