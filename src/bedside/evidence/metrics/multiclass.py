"""Metrics of several classes: AUROC (one-vs-rest, Hand-Till), accuracy, macro F1, kappa, Brier score, log loss.

`y` and `call` are class codes 0..K-1 (rows,), `p` probabilities (rows, K) that add up to 1. Standard errors are the
sum of each row's influence by subject.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.binary import mean_of_losses
from bedside.evidence.metrics.interval import Interval, normal_limits
from bedside.evidence.metrics.proportions import effective_n, proportion_of, wilson_limits
from bedside.evidence.metrics.ranking import Ranking, auroc_influence, mann_whitney_limits, subjects_by_class
from bedside.evidence.metrics.rows import Floats, Ints, Subjects, sample_weights


def class_codes(y: ArrayLike, classes: int, name: str = "labels") -> Ints:
    """Checked class codes as int64. Raises ValueError when empty or outside 0..classes-1."""
    codes = np.asarray(y)
    if codes.ndim != 1 or codes.size == 0 or codes.dtype.kind not in "iu":
        raise ValueError(f"{name} must be one non-empty column of integer codes")
    if int(codes.min()) < 0 or int(codes.max()) >= classes:
        raise ValueError(f"{name} must lie in 0..{classes - 1}")
    return codes.astype(np.int64, copy=False)


def class_probabilities(p: ArrayLike, n: int) -> Floats:
    """Checked probabilities (n, K). Raises ValueError unless they lie in [0, 1] and add up to 1 within 1e-4."""
    array = np.asarray(p, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != n or array.shape[1] < 2:
        raise ValueError(f"probabilities must be ({n}, classes), not {array.shape}")
    if not bool(np.isfinite(array).all()) or bool(array.min() < 0) or bool(array.max() > 1):
        raise ValueError("probabilities must lie in [0, 1], none missing")
    if bool(np.abs(array.sum(axis=1) - 1).max() > 1e-4):
        raise ValueError("the probabilities of a row must add up to 1")
    return array


def confusion_matrix(y: ArrayLike, call: ArrayLike, classes: int, *, weights: ArrayLike | None = None) -> Floats:
    """(Weight of) rows by label and call (classes, classes)."""
    truth, called, w, _ = _calls(y, call, classes, None, weights)
    return _table(truth, called, classes, w)


def _calls(
    y: ArrayLike, call: ArrayLike, classes: int, subject: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Ints, Ints, Floats, Subjects]:
    truth, called = class_codes(y, classes), class_codes(call, classes, "calls")
    if len(truth) != len(called):
        raise ValueError(f"{len(called)} calls for {len(truth)} labels")
    w = sample_weights(weights, len(truth))
    return truth, called, np.ones(len(truth)) if w is None else w, Subjects.of(subject, len(truth))


def _table(truth: Ints, called: Ints, classes: int, w: Floats) -> Floats:
    cells = np.bincount(truth * classes + called, weights=w, minlength=classes * classes)
    return np.asarray(cells, dtype=np.float64).reshape(classes, classes)


def accuracy(
    y: ArrayLike,
    call: ArrayLike,
    classes: int,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Share of rows whose call is the label. Wilson (see `proportion`)."""
    truth, called, w, subjects = _calls(y, call, classes, subject, weights)
    return proportion_of(truth == called, subjects, None if weights is None else w, level)


def macro_f1(
    y: ArrayLike,
    call: ArrayLike,
    classes: int,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over classes of F1 = 2tp/(2tp + fp + fn); classes neither seen nor called are left out, as in scikit-learn.

    Interval on the logit scale; at 0 or 1 the mean of the classes' Wilson limits.
    """
    truth, called, w, subjects = _calls(y, call, classes, subject, weights)
    table = _table(truth, called, classes, w)
    hit, size = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    seen = np.flatnonzero(size > 0)
    scores = np.divide(2 * hit, size, out=np.zeros(classes), where=size > 0)
    value = float(scores[seen].mean())
    if value <= 0 or value >= 1:
        limits = []
        for k in seen:
            rows = (truth == k) | (called == k)
            n = effective_n(np.ones(int(rows.sum()), dtype=np.bool_), 1.0, subjects.take(rows), w[rows])
            low, high = wilson_limits(value, n, level)
            limits.append((2 * low / (1 + low), 2 * high / (1 + high)))
        low, high = (float(side) for side in np.mean(limits, axis=0))
        return Interval(value, low, high, 0.0, "no_variation", len(truth), subjects.count)
    # d F1_k = [2·(hit k) - F1_k ((label is k) + (call is k))] / size_k for a row
    per = np.divide(1.0, size, out=np.zeros(classes), where=size > 0) / len(seen)
    influence = 2 * np.where(truth == called, per[truth], 0.0) - (scores * per)[truth] - (scores * per)[called]
    se = subjects.se(w * influence)
    low, high = normal_limits(value, se, level, "logit")
    return Interval(value, low, high, se, "delta_logit" + subjects.suffix, len(truth), subjects.count)


def kappa(
    y: ArrayLike,
    call: ArrayLike,
    classes: int,
    *,
    agreement: Literal["exact", "linear", "quadratic"] = "exact",
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Cohen's kappa (1960), or weighted kappa (1968) with linear or quadratic agreement over ordered classes.

    Raises ValueError when chance agreement is complete (one class only). At 1 the bound comes from Wilson's limit of
    the share of rows that agree, chance agreement held.
    """
    truth, called, w, subjects = _calls(y, call, classes, subject, weights)
    share = w / w.sum()
    grid = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))) / max(classes - 1, 1)
    agree = {"exact": (grid == 0).astype(np.float64), "linear": 1 - grid, "quadratic": 1 - grid**2}[agreement]
    table = _table(truth, called, classes, share)
    of_label, of_call = table.sum(axis=1), table.sum(axis=0)
    observed = float(np.sum(agree * table))
    by_label, by_call = agree @ of_call, of_label @ agree
    chance = float(of_label @ by_label)
    if chance >= 1 - 1e-12:
        raise ValueError("one class only: agreement by chance is complete and kappa undefined")
    value = (observed - chance) / (1 - chance)
    n = len(truth)
    if bool((truth == called).all()):
        alone = None if weights is None else w
        low = (proportion_of(truth == called, subjects, alone, level).low - chance) / (1 - chance)
        return Interval(1.0, low, 1.0, 0.0, "no_variation", n, subjects.count)
    d_observed = agree[truth, called] - observed
    d_chance = by_label[truth] + by_call[called] - 2 * chance
    influence = (d_observed * (1 - chance) - (1 - observed) * d_chance) / (1 - chance) ** 2
    se = subjects.se(share * influence)
    low, high = normal_limits(value, se, level, "plain")
    return Interval(value, low, min(high, 1.0), se, "delta" + subjects.suffix, n, subjects.count)


def macro_auroc(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over classes of the AUROC of the class against the rest. Raises ValueError when a class does not occur."""
    truth, prob, w, subjects = _probabilities(y, p, subject, weights)
    rankings = [
        (Ranking.of(truth == k, np.ascontiguousarray(prob[:, k]), w, subjects), None) for k in range(prob.shape[1])
    ]
    return mean_auroc(rankings, len(truth), subjects, level)


def hand_till(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Hand and Till's M (2001): mean over ordered pairs (i, j) of the AUROC of p_i between rows of class i and j.

    Raises ValueError when a class does not occur.
    """
    truth, prob, w, subjects = _probabilities(y, p, subject, weights)
    rankings: list[tuple[Ranking, Ints | None]] = []
    for i in range(prob.shape[1]):
        for j in range(prob.shape[1]):
            if i != j:
                rows = np.flatnonzero((truth == i) | (truth == j))
                mine = None if w is None else w[rows]
                rankings.append((Ranking.of(truth[rows] == i, prob[rows, i], mine, subjects.take(rows)), rows))
    return mean_auroc(rankings, len(truth), subjects, level)


def _probabilities(
    y: ArrayLike, p: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Ints, Floats, Floats | None, Subjects]:
    n = len(np.asarray(y))
    prob = class_probabilities(p, n)
    truth = class_codes(y, prob.shape[1])
    missing = np.flatnonzero(np.bincount(truth, minlength=prob.shape[1]) == 0)
    if len(missing):
        raise ValueError(f"no row of class {missing[0]}: its AUROC is undefined")
    return truth, prob, sample_weights(weights, n), Subjects.of(subject, n)


def mean_auroc(rankings: Sequence[tuple[Ranking, Ints | None]], n: int, subjects: Subjects, level: float) -> Interval:
    """The mean of several AUROCs, each over the rows (positions among n) beside its ranking, None being all of them.

    A subject's influence is the sum of what it has on each. Interval on the logit scale, or the mean of Mann-Whitney
    score limits where every AUROC is 0 or 1.
    """
    influence, thetas = np.zeros(n), []
    for ranking, rows in rankings:
        theta, mine = auroc_influence(ranking)
        thetas.append(theta)
        influence[ranking.order if rows is None else rows[ranking.order]] += mine / len(rankings)
    value = math.fsum(thetas) / len(thetas)
    se = subjects.se(influence)
    if se <= 1e-12:
        limits = [
            mann_whitney_limits(theta, *subjects_by_class(ranking.y, ranking.subjects), level=level)
            for theta, (ranking, _) in zip(thetas, rankings, strict=True)
        ]
        low, high = (float(side) for side in np.mean(limits, axis=0))
        return Interval(value, low, high, se, "mann_whitney_score", n, subjects.count)
    low, high = normal_limits(value, se, level, "logit")
    return Interval(value, low, high, se, "delta_logit" + subjects.suffix, n, subjects.count)


def brier(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean over rows of Σ_k (p_k - [y = k])², between 0 and 2 (Brier 1950): twice the binary score for two classes.

    Interval on the log scale. Raises ValueError when all rows lose the same.
    """
    n = len(np.asarray(y))
    prob = class_probabilities(p, n)
    truth = class_codes(y, prob.shape[1])
    own = prob[np.arange(n), truth]
    loss = np.einsum("rk,rk->r", prob, prob) - 2 * own + 1
    return mean_of_losses(np.maximum(loss, 0.0), Subjects.of(subject, n), sample_weights(weights, n), level)


def log_loss(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Mean -log p of the label's class in nats, p kept within [ε, 1 - ε]; interval on the log scale."""
    n = len(np.asarray(y))
    prob = class_probabilities(p, n)
    truth = class_codes(y, prob.shape[1])
    edge = float(np.finfo(np.float64).eps)
    loss = -np.log(np.clip(prob[np.arange(n), truth], edge, 1 - edge))
    return mean_of_losses(loss, Subjects.of(subject, n), sample_weights(weights, n), level)
