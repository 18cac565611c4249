"""Metrics of yes/no calls against labels, each with an interval whose unit is the subject."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, mover, normal_limits
from bedside.evidence.metrics.proportions import Method, effective_n, proportion_of
from bedside.evidence.metrics.rows import Bools, Floats, Subjects, labels, sample_weights


class Counts(NamedTuple):
    """(Weights of) true positives, false positives, false negatives, true negatives."""

    tp: float
    fp: float
    fn: float
    tn: float


class Calls(NamedTuple):
    """Checked rows: label, call, weights or None, subjects; and how a share's interval is made."""

    y: Bools
    call: Bools
    weights: Floats | None
    subjects: Subjects
    interval: Method = "wilson"

    def where(self, rows: Bools, hit: Bools, level: float, nothing: str) -> Interval:
        """Share of hits among `rows`. Raises ValueError(nothing) when no row is among them."""
        if not bool(rows.any()):
            raise ValueError(nothing)
        weights = None if self.weights is None else self.weights[rows]
        return proportion_of(hit[rows], self.subjects.take(rows), weights, level, self.interval)

    @property
    def counts(self) -> Counts:
        """The confusion table."""
        w = self.weights

        def total(rows: Bools) -> float:
            return float(np.count_nonzero(rows)) if w is None else float(w[rows].sum())

        y, call = self.y, self.call
        return Counts(total(y & call), total(~y & call), total(y & ~call), total(~y & ~call))


def calls_of(
    y: ArrayLike,
    call: ArrayLike,
    subject: ArrayLike | None,
    weights: ArrayLike | None,
    interval: Method = "wilson",
) -> Calls:
    """Check rows. Raises ValueError."""
    truth = labels(y)
    called = labels(call)
    if called.shape != truth.shape:
        raise ValueError(f"{len(called)} calls for {len(truth)} labels")
    return Calls(truth, called, sample_weights(weights, len(truth)), Subjects.of(subject, len(truth)), interval)


def confusion(y: ArrayLike, call: ArrayLike, *, weights: ArrayLike | None = None) -> Counts:
    """True positives, false positives, false negatives, true negatives of calls (rows,) against labels (rows,)."""
    return calls_of(y, call, None, weights).counts


def sensitivity(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of rows with the event that are called. Wilson (see `proportion`). Raises ValueError without an event."""
    return sensitivity_of(calls_of(y, call, subject, weights), level)


def sensitivity_of(rows: Calls, level: float) -> Interval:
    """`sensitivity` on checked rows."""
    return rows.where(rows.y, rows.call, level, "no row with the event")


def specificity(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of rows without the event that are not called. Wilson. Raises ValueError when all have the event."""
    return specificity_of(calls_of(y, call, subject, weights), level)


def specificity_of(rows: Calls, level: float) -> Interval:
    """`specificity` on checked rows."""
    return rows.where(~rows.y, ~rows.call, level, "no row without the event")


def ppv(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of called rows that have the event. Wilson. Raises ValueError when none is called."""
    return ppv_of(calls_of(y, call, subject, weights), level)


def ppv_of(rows: Calls, level: float) -> Interval:
    """`ppv` on checked rows."""
    return rows.where(rows.call, rows.y, level, "no row is called: no predictive value")


def npv(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of rows not called that are without the event. Wilson. Raises ValueError when all are called."""
    return npv_of(calls_of(y, call, subject, weights), level)


def npv_of(rows: Calls, level: float) -> Interval:
    """`npv` on checked rows."""
    return rows.where(~rows.call, ~rows.y, level, "every row is called: no negative predictive value")


def accuracy(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of rows whose call is the label. Wilson."""
    return accuracy_of(calls_of(y, call, subject, weights), level)


def accuracy_of(rows: Calls, level: float) -> Interval:
    """`accuracy` on checked rows."""
    return proportion_of(rows.y == rows.call, rows.subjects, rows.weights, level, rows.interval)


def balanced_accuracy(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """(Sensitivity + specificity) / 2, their Wilson intervals combined with their correlation within subjects.

    Raises ValueError for one class.
    """
    return balanced_accuracy_of(calls_of(y, call, subject, weights), level)


def balanced_accuracy_of(rows: Calls, level: float) -> Interval:
    """`balanced_accuracy` on checked rows; always of Wilson intervals."""
    rows = rows._replace(interval="wilson")
    a, b = sensitivity_of(rows, level), specificity_of(rows, level)
    correlation = 0.0
    if rows.subjects.codes is not None:
        w = np.ones(len(rows.y)) if rows.weights is None else rows.weights
        first = rows.subjects.sums(np.where(rows.y, w * (rows.call - a.value), 0.0))
        second = rows.subjects.sums(np.where(rows.y, 0.0, w * (~rows.call - b.value)))
        norm = math.sqrt(float(np.einsum("s,s->", first, first)) * float(np.einsum("s,s->", second, second)))
        correlation = float(np.einsum("s,s->", first, second)) / norm if norm > 0 else 0.0
    low, high = mover((a.value / 2, a.low / 2, a.high / 2), (b.value / 2, b.low / 2, b.high / 2), correlation)
    se = math.sqrt(max(a.se**2 + b.se**2 + 2 * correlation * a.se * b.se, 0.0)) / 2
    value = (a.value + b.value) / 2
    return Interval(value, max(low, 0.0), min(high, 1.0), se, "mover_wilson", len(rows.y), rows.subjects.count)


def f1(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """F1 = 2tp / (2tp + fp + fn) = 2J / (1 + J); J = tp / (tp + fp + fn) is a proportion and lends its Wilson limits.

    Raises ValueError when no row has the event and none is called.
    """
    return f1_of(calls_of(y, call, subject, weights), level)


def f1_of(rows: Calls, level: float) -> Interval:
    """`f1` on checked rows; always of a Wilson interval."""
    rows = rows._replace(interval="wilson")
    nothing = "no row has the event and none is called: F1 is undefined"
    j = rows.where(rows.y | rows.call, rows.y & rows.call, level, nothing)
    value, low, high = (2 * x / (1 + x) for x in (j.value, j.low, j.high))
    counts = rows.counts
    value = 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn)
    return Interval(value, low, high, 2 * j.se / (1 + j.value) ** 2, "wilson_jaccard", j.n_rows, j.n_subjects)


def mcc(
    y: ArrayLike,
    call: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Matthews correlation coefficient, interval on Fisher's z scale.

    At ±1, where the standard error is 0, the bound is that of the table with half a row added to each cell. Raises
    ValueError when all rows have one label or one call.
    """
    return mcc_of(calls_of(y, call, subject, weights), level)


def mcc_of(rows: Calls, level: float) -> Interval:
    """`mcc` on checked rows."""
    n, subjects = len(rows.y), rows.subjects
    counts = np.array(rows.counts)
    total = counts.sum()
    value, gradient = _phi(counts / total)
    value = max(-1.0, min(1.0, value))
    if abs(value) >= 1 - 1e-12:
        w = np.ones(n) if rows.weights is None else rows.weights
        everyone = effective_n(np.ones(n, dtype=np.bool_), 1.0, subjects, w)
        table = counts / total * everyone + 0.5
        shrunk, slope = _phi(table / table.sum())
        share = table / table.sum()
        variance = float(share @ slope**2 - (share @ slope) ** 2) / everyone
        low, high = normal_limits(shrunk, math.sqrt(max(variance, 0.0)), level, "fisher_z")
        low, high = (low, 1.0) if value > 0 else (-1.0, high)
        return Interval(value, low, high, 0.0, "no_variation", n, subjects.count)
    cell = np.where(rows.y, np.where(rows.call, 0, 2), np.where(rows.call, 1, 3))
    centred = gradient - float(gradient @ counts) / total
    influence = centred[cell] / total
    if rows.weights is not None:
        influence = influence * rows.weights
    se = subjects.se(influence)
    low, high = normal_limits(value, se, level, "fisher_z")
    return Interval(value, low, high, se, "delta_fisher_z" + subjects.suffix, n, subjects.count)


def _phi(share: Floats) -> tuple[float, Floats]:
    """MCC of cell shares (tp, fp, fn, tn) and its gradient. Raises ValueError when a margin is empty."""
    tp, fp, fn, tn = (float(x) for x in share)
    margins = np.array([tp + fp, tp + fn, tn + fp, tn + fn])
    if bool((margins <= 0).any()):
        raise ValueError("all rows have one label or one call: MCC is undefined")
    root = math.sqrt(float(np.prod(margins)))
    value = (tp * tn - fp * fn) / root
    # d log(root) by cell: half the sum of 1/margin over the margins that hold the cell.
    inverse = 1 / margins
    holds = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], dtype=np.float64)
    gradient = np.array([tn, -fn, -fp, tp]) / root - value * (holds @ inverse) / 2
    return value, gradient
