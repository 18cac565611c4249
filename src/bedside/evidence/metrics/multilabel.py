"""Means over labels that need not be known in every row: AUROC, sensitivity, specificity, Brier score.

`y` is 1, 0 or −1 (unknown), (rows, labels); a label counts the rows that know it, and every label counts alike. A
subject's influence is summed over its rows and labels, so labels of one patient are not taken for independent.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.multiclass import mean_auroc
from bedside.evidence.metrics.proportions import effective_n, wilson_limits
from bedside.evidence.metrics.ranking import Ranking, auroc_influence
from bedside.evidence.metrics.rows import Bools, Floats, Ints, Subjects, probabilities, sample_weights


def label_codes(y: ArrayLike) -> Ints:
    """Checked labels (rows, labels). Raises ValueError for other codes than −1, 0, 1, or a label no row knows."""
    codes = np.asarray(y)
    if codes.ndim != 2 or codes.size == 0 or codes.dtype.kind not in "iu" or not np.isin(codes, (-1, 0, 1)).all():
        raise ValueError("labels must be a table of 1, 0 and -1 (unknown)")
    if not (codes >= 0).any(axis=0).all():
        raise ValueError("no row knows a label")
    return codes.astype(np.int64, copy=False)


def macro_auroc(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over labels of the AUROC. Raises ValueError when a label has one class only in the rows that know it."""
    codes = label_codes(y)
    n, subjects, w = len(codes), Subjects.of(subject, len(codes)), sample_weights(weights, len(codes))
    rankings = [(each, rows) for each, rows in _rankings(codes, _scores(codes, p), w, subjects)]
    return mean_auroc([(each, None if len(rows) == n else rows) for each, rows in rankings], n, subjects, level)


def macro_auroc_difference(
    y: ArrayLike,
    p: ArrayLike,
    other: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over labels of the AUROC of `p` minus that of `other`, paired by subject; symmetric interval.

    Raises ValueError as `macro_auroc`, and where scores separate all classes so that no variance is seen.
    """
    codes = label_codes(y)
    n, subjects, w = len(codes), Subjects.of(subject, len(codes)), sample_weights(weights, len(codes))
    values, influences = [], []
    for scores in (_scores(codes, p), _scores(codes, other)):
        thetas, influence = [], np.zeros(n)
        for ranking, rows in _rankings(codes, scores, w, subjects):
            theta, mine = auroc_influence(ranking)
            thetas.append(theta)
            influence[rows[ranking.order]] += mine / codes.shape[1]
        values.append(math.fsum(thetas) / codes.shape[1])
        influences.append(influence)
    value = values[0] - values[1]
    se = subjects.se(influences[0] - influences[1])
    if se <= 1e-12 and value != 0:
        raise ValueError("a score separates the classes of every label: the difference has no interval")
    low, high = normal_limits(value, se, level, "plain")
    return Interval(value, max(low, -1.0), min(high, 1.0), se, "delong_paired" + subjects.suffix, n, subjects.count)


def macro_sensitivity(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over labels of the share called among the rows that have it. Raises ValueError for a label nobody has."""
    codes = label_codes(y)
    return _mean_share(np.asarray(call, dtype=np.bool_), codes == 1, subject, weights, level)


def macro_specificity(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over labels of the share not called among the rows known not to have it; as `macro_sensitivity`."""
    codes = label_codes(y)
    return _mean_share(~np.asarray(call, dtype=np.bool_), codes == 0, subject, weights, level)


def macro_brier(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over labels of the Brier score; symmetric interval from the influence of each subject."""
    codes = label_codes(y)
    scores, w = _scores(codes, p), sample_weights(weights, len(codes))
    loss = (scores - (codes == 1)) ** 2
    value, influence = _influence(loss, codes >= 0, w)
    # The influence column has mean 0: moved to the value it is a column whose mean and spread are the estimator's.
    return mean(value + influence * len(codes), level=level, subject=subject)


def _scores(codes: Ints, p: ArrayLike) -> Floats:
    scores = np.asarray(p, dtype=np.float64)
    if scores.shape != codes.shape:
        raise ValueError(f"probabilities {scores.shape} for labels {codes.shape}")
    return probabilities(scores.ravel(), scores.size).reshape(scores.shape)


def _rankings(codes: Ints, p: Floats, w: Floats | None, subjects: Subjects) -> list[tuple[Ranking, Ints]]:
    """Each label's ranking, with the positions of the rows that know it."""
    out = []
    for k in range(codes.shape[1]):
        rows = np.flatnonzero(codes[:, k] >= 0)
        mine = None if w is None else w[rows]
        out.append((Ranking.of(codes[rows, k] == 1, p[rows, k], mine, subjects.take(rows)), rows))
    return out


def _influence(x: Floats, counted: Bools, w: Floats | None) -> tuple[float, Floats]:
    """Mean over labels of the weighted mean of x (rows, labels) over the rows counted, and each row's influence."""
    mass = counted * (1.0 if w is None else w[:, None])
    total = mass.sum(axis=0)
    if not (total > 0).all():
        raise ValueError("no row of a label is counted: its mean is undefined")
    share = mass / total
    each = (share * x).sum(axis=0)
    return float(each.mean()), np.asarray((share * (x - each)).mean(axis=1))


def _mean_share(
    hit: Bools, counted: Bools, subject: ArrayLike | None, weights: ArrayLike | None, level: float
) -> Interval:
    if hit.shape != counted.shape:
        raise ValueError(f"calls {hit.shape} for labels {counted.shape}")
    subjects, w = Subjects.of(subject, len(hit)), sample_weights(weights, len(hit))
    value, influence = _influence(hit.astype(np.float64), counted, w)
    rows = np.flatnonzero(counted.any(axis=1))
    counts = len(rows), subjects.take(rows).count
    if value <= 0 or value >= 1:
        limits = []
        for column in counted.T:
            mine = None if w is None else w[column]
            n = effective_n(np.ones(int(column.sum()), dtype=np.bool_), 1.0, subjects.take(column), mine)
            limits.append(wilson_limits(value, n, level))
        low, high = (float(side) for side in np.mean(limits, axis=0))
        return Interval(value, low, high, 0.0, "no_variation", *counts)
    se = subjects.se(influence)
    low, high = normal_limits(value, se, level, "logit")
    return Interval(value, low, high, se, "delta_logit" + subjects.suffix, *counts)
