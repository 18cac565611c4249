"""AUROC by one sort, with DeLong variance whose unit is the subject.

`Ranking` holds the rows in ascending order of score with their ties; everything else is a pass over it: O(n log n)
time, O(n) memory, ties exact. Notation: θ is the AUROC, V the placement of a row: for a row with the event the share
of rows without it that score lower, for a row without the event the share of rows with it that score higher, ties half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, mover, normal_limits, z_value
from bedside.evidence.metrics.rows import Bools, Floats, Ints, Subjects, both_classes, labels, numbers, sample_weights


@dataclass(frozen=True)
class Ranking:
    """Rows in ascending order of score. `order` maps them to the rows given; `starts` are the first rows of each run
    of tied scores, None when no two scores are equal."""

    order: Ints
    y: Bools
    score: Floats
    weights: Floats | None
    subjects: Subjects
    starts: Ints | None

    @classmethod
    def of(cls, y: Bools, score: Floats, weights: Floats | None, subjects: Subjects) -> Ranking:
        """Sort checked rows. Stable, so that equal rows come in the same order on every machine."""
        order = np.argsort(score, kind="stable")
        codes = None if subjects.codes is None else subjects.codes[order]
        s = score[order]
        return cls(
            order,
            y[order],
            s,
            None if weights is None else weights[order],
            Subjects(codes, subjects.count),
            tie_starts(s),
        )

    def take(self, rows: Ints) -> Ranking:
        """A subset, `rows` ascending indices into this ranking: still sorted, so nothing is sorted again."""
        s = self.score[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Ranking(
            self.order[rows],
            self.y[rows],
            s,
            weights,
            self.subjects.take(rows),
            None if self.starts is None else tie_starts(s),
        )

    @property
    def spans(self) -> tuple[Ints, Ints]:
        """First and one-past-last row of each run of ties (groups,)."""
        starts = np.arange(len(self.y)) if self.starts is None else self.starts
        return starts, np.append(starts[1:], len(self.y))

    def per_row(self, by_group: Floats) -> Floats:
        """A value a run of ties (groups,) spread over its rows."""
        if self.starts is None:
            return by_group
        starts, ends = self.spans
        return np.repeat(by_group, ends - starts)


def tie_starts(ascending: Floats) -> Ints | None:
    """First rows of each run of equal values in a sorted column, None when all differ."""
    new = ascending[1:] != ascending[:-1]
    if bool(new.all()):
        return None
    return np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)


def placements(ranking: Ranking) -> tuple[float, Floats]:
    """θ and the placement V of every row (rows,). Raises ValueError when one class is absent."""
    with_event, without = both_classes(ranking.y, ranking.weights)
    starts, ends = ranking.spans
    if ranking.weights is None:  # whole counts: θ is then the nearest float to the exact ratio
        negative = np.concatenate([[0], np.cumsum(~ranking.y)])
        total = np.arange(len(ranking.y) + 1)
    else:
        negative = np.concatenate([[0.0], np.cumsum(np.where(ranking.y, 0.0, ranking.weights))])
        total = np.concatenate([[0.0], np.cumsum(ranking.weights)])
    negative_below, negative_tied = negative[starts], negative[ends] - negative[starts]
    positive_below = total[starts] - negative_below
    positive_tied = total[ends] - total[starts] - negative_tied
    # θ = Σ positive_tied (negative_below + negative_tied/2) / (P N), doubled to stay in whole numbers.
    theta = float(np.sum(positive_tied * (2 * negative_below + negative_tied))) / (2 * with_event * without)
    theta = min(max(theta, 0.0), 1.0)
    of_positive = (negative_below + negative_tied / 2) / without
    of_negative = 1 - (positive_below + positive_tied / 2) / with_event
    return theta, np.where(ranking.y, ranking.per_row(of_positive), ranking.per_row(of_negative))


def auroc_influence(ranking: Ranking) -> tuple[float, Floats]:
    """θ and the influence of each row on it (rows,): w (V - θ) / the weight of the row's class."""
    with_event, without = both_classes(ranking.y, ranking.weights)
    theta, v = placements(ranking)
    influence = (v - theta) / np.where(ranking.y, with_event, without)
    return theta, influence if ranking.weights is None else influence * ranking.weights


def structural_se(y: Bools, influence: Floats, subjects: Subjects) -> float:
    """Standard error from structural components summed by subject (Obuchowski 1997), DeLong's when rows are subjects.

    I₁/(I₁-1) ΣA² + I₀/(I₀-1) ΣB² + 2 I/(I-1) ΣAB over subjects, A and B the sums of influence over a subject's rows
    with and without the event, I₁ and I₀ the subjects that have such rows. Raises ValueError when I₁ or I₀ is 1.
    """
    if subjects.codes is None:
        a, b = influence[y], influence[~y]
        count_a, count_b, cross = len(a), len(b), 0.0
    else:
        a = subjects.sums(np.where(y, influence, 0.0))
        b = subjects.sums(np.where(y, 0.0, influence))
        count_a = int(np.count_nonzero(np.bincount(subjects.codes[y])))
        count_b = int(np.count_nonzero(np.bincount(subjects.codes[~y])))
        cross = float(np.einsum("i,i->", a, b))
    if count_a < 2 or count_b < 2:
        which = "with" if count_a < 2 else "without"
        raise ValueError(f"one subject only {which} the event: no interval can be known")
    variance = count_a / (count_a - 1) * float(np.einsum("i,i->", a, a))
    variance += count_b / (count_b - 1) * float(np.einsum("i,i->", b, b))
    if cross != 0.0:
        variance += 2 * subjects.count / (subjects.count - 1) * cross
    return math.sqrt(max(variance, 0.0))


def auroc(
    y: ArrayLike,
    score: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    scale: Literal["logit", "plain"] = "logit",
) -> Interval:
    """Area under the ROC curve of score (rows,) for labels y (rows,), with a DeLong interval by subject.

    The default interval is built on the logit scale (Pepe 2003), which stays in [0, 1]; `plain` is DeLong's own
    symmetric one, cut at 0 and 1. Where the DeLong variance is zero (perfect separation, constant score) the interval
    is Newcombe's (2006) score interval with subjects as n. Raises ValueError for one class, or fewer than two subjects
    with or without the event. Source: DeLong 1988; Obuchowski 1997.
    """
    return auroc_of(ranking_of(y, score, subject, weights), level, scale)


def ranking_of(y: ArrayLike, score: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None) -> Ranking:
    """Check and sort rows."""
    checked = labels(y)
    n = len(checked)
    return Ranking.of(checked, numbers(score, n, "score"), sample_weights(weights, n), Subjects.of(subject, n))


def auroc_of(ranking: Ranking, level: float, scale: Literal["logit", "plain"] = "logit") -> Interval:
    """`auroc` on sorted rows."""
    theta, influence = auroc_influence(ranking)
    subjects = ranking.subjects
    se = structural_se(ranking.y, influence, subjects)
    if se <= 1e-12:  # separated or constant: what is left of the variance is rounding
        low, high = mann_whitney_limits(theta, *subjects_by_class(ranking.y, subjects), level=level)
        return Interval(theta, low, high, se, "mann_whitney_score", len(ranking.y), subjects.count)
    if scale == "logit":
        low, high = normal_limits(theta, se, level, "logit")
        name = "delong"
    else:
        low, high = normal_limits(theta, se, level, "plain")
        low, high, name = max(low, 0.0), min(high, 1.0), "delong_plain"
    return Interval(theta, low, high, se, name + subjects.suffix, len(ranking.y), subjects.count)


def subjects_by_class(y: Bools, subjects: Subjects) -> tuple[int, int]:
    """How many subjects have a row with the event, and without."""
    if subjects.codes is None:
        with_event = int(np.count_nonzero(y))
        return with_event, len(y) - with_event
    return (
        int(np.count_nonzero(np.bincount(subjects.codes[y]))),
        int(np.count_nonzero(np.bincount(subjects.codes[~y]))),
    )


def mann_whitney_limits(theta: float, m: int, n: int, *, level: float) -> tuple[float, float]:
    """Score interval for θ from m rows with and n without the event.

    Solves (θ̂ - θ)² = z² V(θ), V that of Hanley and McNeil (1982) with both exponents at N* = (m + n)/2 - 1: not
    degenerate at θ̂ = 0 or 1. Source: Newcombe 2006, Statistics in Medicine 25:559, method 5.
    """
    from scipy.optimize import brentq

    z = z_value(level)
    star = (m + n) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + star * (1 - t) / (2 - t) + star * t / (1 + t)) / (m * n)
        return (theta - t) ** 2 - z * z * variance

    edge = 1e-12
    low = 0.0 if theta <= 0 else float(brentq(excess, 0.0, min(theta, 1 - edge), xtol=1e-13))
    high = 1.0 if theta >= 1 else float(brentq(excess, max(theta, edge), 1.0, xtol=1e-13))
    return low, high


def auroc_difference(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """AUROC of `first` minus AUROC of `second` on the same rows, with a paired DeLong interval by subject.

    Symmetric interval, as published. Two scores that both separate the classes, or are constant, have no DeLong
    variance; unless they order the rows alike, their score intervals are then combined. Raises ValueError as `auroc`.
    """
    a = ranking_of(y, first, subject, weights)
    b = ranking_of(y, second, subject, weights)
    theta_a, influence_a = auroc_influence(a)
    theta_b, influence_b = auroc_influence(b)
    n = len(a.y)
    difference = np.empty(n)
    difference[a.order] = influence_a
    difference[b.order] -= influence_b
    checked = labels(y)
    subjects = Subjects.of(subject, n)
    se = structural_se(checked, difference, subjects)
    value = theta_a - theta_b
    if se <= 1e-12 and not _same_order(a, b):
        counts = subjects_by_class(checked, subjects)
        low_a, high_a = mann_whitney_limits(theta_a, *counts, level=level)
        low_b, high_b = mann_whitney_limits(theta_b, *counts, level=level)
        low, high = mover((theta_a, low_a, high_a), (-theta_b, -high_b, -low_b))
        return Interval(value, low, high, se, "mover_mann_whitney", n, subjects.count)
    low, high = normal_limits(value, se, level, "plain")
    return Interval(value, max(low, -1.0), min(high, 1.0), se, "delong_paired" + subjects.suffix, n, subjects.count)


def _same_order(a: Ranking, b: Ranking) -> bool:
    return bool(np.array_equal(a.order, b.order)) and bool(np.array_equal(a.spans[0], b.spans[0]))
