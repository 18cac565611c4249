"""Stability: whether other patients would rank the fields alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.checks.assemble import estimate
from bedside.evidence.estimate import Estimate
from bedside.evidence.metrics.bootstrap import percentile_limits, subject_weights
from bedside.evidence.metrics.interval import Interval


def stability(
    size: NDArray[np.float64], subjects: NDArray[np.int64], replicates: int, level: float, seed: int
) -> list[Estimate]:
    """Mean Spearman correlation of the fields' importances between these rows and bootstrap samples of subjects."""
    from scipy.stats import rankdata

    n, k = size.shape
    count = int(subjects.max()) + 1
    more: dict[str, Any] = {"n_rows": n, "n_subjects": count}
    if k < 3 or count < 2:
        return [
            Estimate("importance_stability", None, why_not="why_too_few_fields" if k < 3 else "why_one_subject", **more)
        ]
    by_subject = np.zeros((count, k))
    np.add.at(by_subject, subjects, size)
    drawn = np.concatenate([w @ by_subject for w in subject_weights(count, replicates, seed=seed)])
    ranks = rankdata(drawn, axis=1) - (k + 1) / 2
    whole = rankdata(by_subject.sum(axis=0)) - (k + 1) / 2
    norms = np.sqrt((ranks**2).sum(axis=1) * (whole**2).sum())
    correlation = np.divide(ranks @ whole, norms, out=np.full(replicates, np.nan), where=norms > 0)
    try:
        low, high, se = percentile_limits(correlation, level)
    except ValueError:
        return [Estimate("importance_stability", None, why_not="not_estimable", **more)]
    value = float(np.nanmean(correlation))
    interval = Interval(value, min(low, value), max(high, value), se, "bootstrap_subject", n, count)
    return [estimate("importance_stability", interval, level)]
