"""Average precision by one sort: value, subject bootstrap, and paired difference by the infinitesimal jackknife."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.bootstrap import percentile_limits
from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.proportions import wilson_limits
from bedside.evidence.metrics.ranked_bootstrap import RankedReplicates, ranked_replicates
from bedside.evidence.metrics.ranking import Ranking, ranking_of, subjects_by_class
from bedside.evidence.metrics.rows import Floats, Subjects, both_classes


def average_precision(
    y: ArrayLike,
    score: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    replicates: int = 1000,
    seed: int,
) -> Interval:
    """Average precision Σ (R_k - R_{k-1}) P_k over distinct scores, as scikit-learn, with a subject bootstrap.

    At a value of 1 the bootstrap cannot vary and the interval is Wilson's with the subjects with an event as n.
    Raises ValueError for one class.
    """
    return average_precision_of(ranking_of(y, score, subject, weights), level, replicates, seed)


def average_precision_of(
    ranking: Ranking, level: float, replicates: int, seed: int, drawn: RankedReplicates | None = None
) -> Interval:
    """`average_precision` on sorted rows; `drawn` are replicates already at hand."""
    value = precision_steps(ranking)[0]
    n, subjects = len(ranking.y), ranking.subjects
    if subjects.count < 2:
        raise ValueError("one subject only: no interval can be known")
    if value >= 1.0:
        with_event = subjects_by_class(ranking.y, subjects)[0]
        return Interval(1.0, *wilson_limits(1.0, with_event, level), 0.0, "wilson_events", n, subjects.count)
    if drawn is None:
        drawn = ranked_replicates([ranking], replicates=replicates, seed=seed)[0]
    # Blocked replicates are moved by (exact - blocked value): blocking touches their spread only.
    low, high, se = percentile_limits(drawn.average_precision + (value - drawn.blocked_average_precision), level)
    low, high = max(min(low, value), 0.0), min(max(high, value), 1.0)
    return Interval(value, low, high, se, "bootstrap_subject", n, subjects.count)


def precision_steps(ranking: Ranking) -> tuple[float, Floats, Floats, Floats]:
    """Average precision, and for each run of ties its weight with the event, its precision, the weight at or above it.

    Raises ValueError when one class is absent.
    """
    with_event, _ = both_classes(ranking.y, ranking.weights)
    starts, _ends = ranking.spans
    weights = np.ones(len(ranking.y)) if ranking.weights is None else ranking.weights
    positive = np.where(ranking.y, weights, 0.0)
    # Summed from the top, where few rows decide and rounding would show.
    at_or_above = np.cumsum(weights[::-1])[::-1][starts]
    positive_above = np.cumsum(positive[::-1])[::-1][starts]
    tied = positive if ranking.starts is None else np.add.reduceat(positive, starts)
    precision = np.divide(positive_above, at_or_above, out=np.zeros(len(starts)), where=at_or_above > 0)
    value = float(np.einsum("i,i->", tied, precision)) / with_event
    return min(value, 1.0), tied, precision, at_or_above


def average_precision_influence(ranking: Ranking) -> tuple[float, Floats]:
    """Average precision and each row's influence on it (rows,): weight times derivative by the weight."""
    value, tied, precision, at_or_above = precision_steps(ranking)
    with_event, _ = both_classes(ranking.y, ranking.weights)
    # A row changes the precision of its own run of ties and of all runs below, by (y - precision) / rows at or above.
    per_row = np.divide(tied, at_or_above, out=np.zeros(len(tied)), where=at_or_above > 0)
    gain = np.cumsum(per_row)
    loss = np.cumsum(per_row * precision)
    y = ranking.y.astype(np.float64)
    influence = y * (ranking.per_row(precision) + ranking.per_row(gain) - value) - ranking.per_row(loss)
    if ranking.weights is not None:
        influence = influence * ranking.weights
    return value, influence / with_event


def average_precision_difference(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Average precision of `first` minus that of `second` on the same rows: influence-function interval by subject.

    Raises ValueError for one class or one subject.
    """
    a = ranking_of(y, first, subject, weights)
    b = ranking_of(y, second, subject, weights)
    value_a, influence_a = average_precision_influence(a)
    value_b, influence_b = average_precision_influence(b)
    difference = np.empty(len(a.y))
    difference[a.order] = influence_a
    difference[b.order] -= influence_b
    subjects = Subjects.of(subject, len(a.y))
    se = subjects.se(difference)
    low, high = normal_limits(value_a - value_b, se, level, "plain")
    return Interval(value_a - value_b, low, high, se, "delta" + subjects.suffix, len(a.y), subjects.count)
