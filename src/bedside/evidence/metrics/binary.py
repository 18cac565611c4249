"""Losses of probabilities of one event: Brier score, scaled Brier score, log loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.proportions import effective_n, wilson_limits
from bedside.evidence.metrics.rows import Bools, Floats, Subjects, both_classes, labels, probabilities, sample_weights


class Risks(NamedTuple):
    """Checked rows: label, probability, weights or None, subjects."""

    y: Bools
    p: Floats
    weights: Floats | None
    subjects: Subjects


def risks_of(y: ArrayLike, p: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None) -> Risks:
    """Check rows. Raises ValueError."""
    truth = labels(y)
    n = len(truth)
    return Risks(truth, probabilities(p, n), sample_weights(weights, n), Subjects.of(subject, n))


def brier(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Brier score, mean (y - p)², interval on the log scale; at 0 the upper bound is that of no miss in n.

    Source: Brier 1950.
    """
    return brier_of(risks_of(y, p, subject, weights), level)


def brier_of(rows: Risks, level: float) -> Interval:
    """`brier` on checked rows."""
    loss = (rows.y - rows.p) ** 2
    if not bool(loss.any()):
        # Losses in [0, 1] are all 0 at most as often as misses of the same mean, so the bound for misses holds.
        n = effective_n(np.ones(len(loss), dtype=np.bool_), 1.0, rows.subjects, rows.weights)
        high = wilson_limits(0.0, n, level)[1]
        return Interval(0.0, 0.0, high, 0.0, "no_variation", len(loss), rows.subjects.count)
    return mean_of_losses(loss, rows.subjects, rows.weights, level, settled=bool((rows.p == 0.5).all()))


def log_loss(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean -log P(label) in nats, interval on the log scale; p is kept within [ε, 1 - ε], as scikit-learn does."""
    return log_loss_of(risks_of(y, p, subject, weights), level)


def log_loss_of(rows: Risks, level: float) -> Interval:
    """`log_loss` on checked rows."""
    edge = float(np.finfo(np.float64).eps)
    of_label = np.clip(np.where(rows.y, rows.p, 1 - rows.p), edge, 1 - edge)
    settled = bool((rows.p == 0.5).all())
    return mean_of_losses(-np.log(of_label), rows.subjects, rows.weights, level, settled=settled)


def mean_of_losses(
    loss: Floats, subjects: Subjects, weights: Floats | None, level: float, *, settled: bool = False
) -> Interval:
    """Weighted mean of losses ≥ 0 (rows,) with an interval on the log scale.

    `settled`: the loss does not hang on the outcome, so that no spread is no lack of evidence. Otherwise raises
    ValueError when all rows lose the same, and with one subject.
    """
    if weights is None:
        value = float(loss.mean())
        influence = (loss - value) / len(loss)
    else:
        total = float(weights.sum())
        value = float(np.einsum("r,r->", weights, loss)) / total
        influence = weights * (loss - value) / total
    se = subjects.se(influence)
    if se <= 1e-12 * value and not settled:
        raise ValueError("all rows lose the same: no interval can be known")
    low, high = normal_limits(value, se, level, "log")
    return Interval(value, low, high, se, "delta_log" + subjects.suffix, len(loss), subjects.count)


def scaled_brier(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """1 - Brier / (Brier of the event rate): 1 is perfect, 0 no better than the rate. Source: Steyerberg 2010.

    The interval is built on log(1 - value). Raises ValueError for one class.
    """
    return scaled_brier_of(risks_of(y, p, subject, weights), level)


def scaled_brier_of(rows: Risks, level: float) -> Interval:
    """`scaled_brier` on checked rows."""
    both_classes(rows.y, rows.weights)
    n, subjects = len(rows.y), rows.subjects
    share = np.full(n, 1 / n) if rows.weights is None else rows.weights / rows.weights.sum()
    y = rows.y.astype(np.float64)
    rate = float(np.einsum("r,r->", share, y))
    reference = rate * (1 - rate)
    loss = (y - rows.p) ** 2
    score = float(np.einsum("r,r->", share, loss))
    if score == 0:
        misses = brier_of(rows, level).high
        return Interval(1.0, 1 - misses / reference, 1.0, 0.0, "no_variation", n, subjects.count)
    ratio = score / reference
    influence = share * ((loss - score) - ratio * (1 - 2 * rate) * (y - rate)) / reference
    se = subjects.se(influence)
    low, high = normal_limits(ratio, se, level, "log")
    return Interval(1 - ratio, 1 - high, 1 - low, se, "delta_log" + subjects.suffix, n, subjects.count)
