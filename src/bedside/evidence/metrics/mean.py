"""The mean of any column, with the subject as the unit: paired differences of losses, errors, contributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.rows import Subjects, numbers, sample_weights


def mean(
    x: ArrayLike, *, level: float = 0.95, subject: ArrayLike | None = None, weights: ArrayLike | None = None
) -> Interval:
    """Weighted mean of x (rows,), symmetric interval from its influence by subject.

    Raises ValueError when empty or with one subject.
    """
    n = len(np.asarray(x))
    if n == 0:
        raise ValueError("no rows: a mean of nothing is undefined")
    values, w, subjects = numbers(x, n, "values"), sample_weights(weights, n), Subjects.of(subject, n)
    share = np.full(n, 1 / n) if w is None else w / w.sum()
    value = float(np.einsum("r,r->", share, values))
    se = subjects.se(share * (values - value))
    low, high = normal_limits(value, se, level, "plain")
    return Interval(value, low, high, se, "delta" + subjects.suffix, n, subjects.count)
