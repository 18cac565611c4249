"""Performance of a predicted number: errors in its unit, explained variance, correlations, agreement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bedside.checks.assemble import attempt, column
from bedside.checks.rows import Rows
from bedside.evidence.estimate import Estimate, Figure
from bedside.evidence.metrics import regression as metrics
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.models.task import Regress

METRICS = ("mae", "rmse", "median_ae", "r2", "pearson", "spearman", "bias", "agreement_lower", "agreement_upper")
IN_UNIT = frozenset({"mae", "rmse", "median_ae", "bias", "agreement_lower", "agreement_upper"})


def regression(rows: Rows, task: Regress, *, level: float) -> tuple[list[Estimate], list[Figure]]:
    """Every estimate, and the histogram of the residuals (predicted − true)."""
    y, guess = rows.truth.astype(np.float64), rows.score
    plain: dict[str, Any] = {"level": level, "subject": rows.subjects}
    shared = {**plain, "weights": rows.weights}
    found: dict[str, Callable[[], Interval]] = {
        "mae": lambda: metrics.mae(y, guess, **shared),
        "rmse": lambda: metrics.rmse(y, guess, **shared),
        "median_ae": lambda: metrics.median_absolute_error(y, guess, **plain),
        "r2": lambda: metrics.r2(y, guess, **shared),
        "pearson": lambda: metrics.pearson(y, guess, **shared),
        "spearman": lambda: metrics.spearman(y, guess, **plain),
        "bias": lambda: mean(guess - y, **shared),
        "agreement_lower": lambda: metrics.bland_altman(y, guess, **plain)["lower"],
        "agreement_upper": lambda: metrics.bland_altman(y, guess, **plain)["upper"],
    }
    estimates = [
        attempt(name, compute, level, otherwise=rows.counts(), unit=task.unit if name in IN_UNIT else None)
        for name, compute in found.items()
    ]
    return estimates, [_residuals(guess - y)]


def _residuals(residual: np.ndarray) -> Figure:
    """Rows in at most 30 equal bins of the residual."""
    counts, edges = np.histogram(residual, bins=min(30, max(5, round(len(residual) ** 0.5))))
    columns = {
        "residual": column((edges[:-1] + edges[1:]) / 2),
        "low": column(edges[:-1]),
        "high": column(edges[1:]),
        "count": column(counts),
    }
    return Figure("residuals", "histogram", columns, {"x": "residual", "y": "count", "low": "low", "high": "high"})
