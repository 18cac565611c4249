"""ROC and precision-recall curves as few points that keep their shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.ranking import ranking_of
from bedside.evidence.metrics.rows import Floats, both_classes


def roc_curve(
    y: ArrayLike, score: ArrayLike, *, weights: ArrayLike | None = None, points: int = 200
) -> tuple[Floats, Floats]:
    """False and true positive rate over falling thresholds, from (0, 0) to (1, 1), at most `points` of them.

    Where thinned, points are those nearest to even steps along the curve. Raises ValueError for one class.
    """
    fp, tp = _cumulative(y, score, weights)
    x, height = fp / fp[-1], tp / tp[-1]
    keep = _along(x + height, points)
    return x[keep], height[keep]


def precision_recall_curve(
    y: ArrayLike, score: ArrayLike, *, weights: ArrayLike | None = None, points: int = 200
) -> tuple[Floats, Floats]:
    """Recall and precision over falling thresholds, by rising recall, at most `points`. Raises as `roc_curve`."""
    fp, tp = _cumulative(y, score, weights)
    seen = (tp + fp) > 0
    recall, precision = tp[seen] / tp[-1], tp[seen] / (tp[seen] + fp[seen])
    keep = _along(recall + np.abs(np.diff(precision, prepend=precision[:1])).cumsum(), points)
    return recall[keep], precision[keep]


def _cumulative(y: ArrayLike, score: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """False and true positives called from the highest score down, (runs of ties + 1,), starting with none."""
    ranking = ranking_of(y, score, None, weights)
    both_classes(ranking.y, ranking.weights)
    starts, _ = ranking.spans
    w = np.ones(len(ranking.y)) if ranking.weights is None else ranking.weights
    tp = np.cumsum(np.where(ranking.y, w, 0.0)[::-1])[::-1][starts][::-1]
    fp = np.cumsum(np.where(ranking.y, 0.0, w)[::-1])[::-1][starts][::-1]
    return np.concatenate([[0.0], fp]), np.concatenate([[0.0], tp])


def _along(distance: Floats, points: int) -> np.ndarray:
    """Positions of at most `points` entries of a rising column nearest below even steps, both ends included."""
    if len(distance) <= points:
        return np.arange(len(distance))
    steps = np.linspace(distance[0], distance[-1], points - 1)
    found = np.searchsorted(distance, steps, side="right") - 1  # the last step finds the last entry
    return np.unique(np.append(found, 0))
