"""Performance with two classes: discrimination, losses, calls, and the ROC, precision-recall and confusion figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bedside.checks.assemble import attempt, column
from bedside.checks.rows import Bools, Rows
from bedside.evidence.estimate import Estimate, Figure
from bedside.evidence.metrics import binary as losses
from bedside.evidence.metrics import calls as of_calls
from bedside.evidence.metrics.curves import precision_recall_curve, roc_curve
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.panel import OF_CALLS
from bedside.evidence.metrics.precision_recall import average_precision
from bedside.evidence.metrics.proportions import Method, proportion
from bedside.evidence.metrics.ranking import auroc
from bedside.models.task import Classify

OF_SCORES = ("auroc", "average_precision", "brier", "scaled_brier", "log_loss", "prevalence")
METRICS = (*OF_SCORES, *OF_CALLS)


def binary(
    rows: Rows,
    call: Bools,
    task: Classify,
    *,
    level: float,
    seed: int,
    replicates: int,
    points: int,
    interval: Method = "wilson",
) -> tuple[list[Estimate], list[Figure]]:
    """Every estimate and figure of calls (rows,) and scores against the truth."""
    y, p, subject, weights = rows.event, rows.score, rows.subjects, rows.weights
    n_events = int(np.count_nonzero(y))
    shared: dict[str, Any] = {"level": level, "subject": subject, "weights": weights}
    of_scores: dict[str, Callable[[], Interval]] = {
        "auroc": lambda: auroc(y, p, **shared),
        "average_precision": lambda: average_precision(y, p, replicates=replicates, seed=seed, **shared),
        "brier": lambda: losses.brier(y, p, **shared),
        "scaled_brier": lambda: losses.scaled_brier(y, p, **shared),
        "log_loss": lambda: losses.log_loss(y, p, **shared),
        "prevalence": lambda: proportion(y, method=interval, **shared),
    }
    everyone = rows.counts()
    estimates = [
        attempt(name, compute, level, otherwise=everyone, n_events=n_events) for name, compute in of_scores.items()
    ]
    made = of_calls.calls_of(y, call, subject, weights, interval)
    denominators = {"sensitivity": y, "specificity": ~y, "ppv": call, "npv": ~call}
    for name, metric in OF_CALLS.items():
        counted = rows.counts(denominators[name]) if name in denominators else everyone
        estimates.append(attempt(name, lambda m=metric: m(made, level), level, otherwise=counted, n_events=n_events))
    return estimates, [*_curves(rows, points), confusion(rows, call.astype(np.int64), task)]


def _curves(rows: Rows, points: int) -> list[Figure]:
    y = rows.event
    if y.all() or not y.any():
        return []
    x, height = roc_curve(y, rows.score, weights=rows.weights, points=points)
    roc = {"false_positive_rate": column(x), "true_positive_rate": column(height)}
    recall, precision = precision_recall_curve(y, rows.score, weights=rows.weights, points=points)
    return [
        Figure("roc", "line", roc, {"x": "false_positive_rate", "y": "true_positive_rate"}),
        Figure(
            "precision_recall",
            "line",
            {"recall": column(recall), "precision": column(precision)},
            {"x": "recall", "y": "precision"},
        ),
    ]


def confusion(rows: Rows, call: np.ndarray, task: Classify) -> Figure:
    """Rows by true and called class (indices), every pair of classes once."""
    k = len(task.classes)
    counts = np.bincount(rows.truth.astype(np.int64) * k + call, minlength=k * k)
    truth = [label for label in task.classes for _ in range(k)]
    called = list(task.classes) * k
    return Figure(
        "confusion_matrix",
        "confusion",
        {"truth": truth, "call": called, "count": column(counts)},
        {"x": "call", "y": "truth", "value": "count"},
    )
