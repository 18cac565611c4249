"""Calibration of a predicted number: the line of the truth on the prediction, and the mean truth along it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bedside.checks.assemble import attempt, column
from bedside.checks.rows import Rows, distinct
from bedside.evidence.estimate import Estimate, Figure
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.regression import calibration_line
from bedside.models.task import Regress

METRICS = ("calibration_slope", "calibration_intercept")
TENTHS = 10


def of_number(rows: Rows, task: Regress, *, level: float) -> tuple[list[Estimate], list[Figure]]:
    """Slope and intercept of y = a + b·ŷ, and the mean truth in tenths of the prediction."""
    y, guess = rows.truth.astype(np.float64), rows.score
    shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}

    def line(part: str) -> Interval:
        return calibration_line(y, guess, **shared)[part]

    more = {"otherwise": rows.counts()}
    estimates = [
        attempt("calibration_slope", lambda: line("slope"), level, **more),
        attempt("calibration_intercept", lambda: line("intercept"), level, unit=task.unit, **more),
    ]
    return estimates, [_means(rows, y, guess, level)]


def _means(rows: Rows, y: np.ndarray, guess: np.ndarray, level: float) -> Figure:
    edges = np.unique(np.quantile(guess, np.linspace(0, 1, TENTHS + 1)[1:-1], method="inverted_cdf"))
    bin_of = np.searchsorted(edges, guess, side="left")
    points = []
    for code in np.unique(bin_of):
        chosen = bin_of == code
        weights = None if rows.weights is None else rows.weights[chosen]
        if distinct(rows.subjects[chosen]) < 2:
            continue
        truth = mean(y[chosen], level=level, subject=rows.subjects[chosen], weights=weights)
        points.append((float(np.average(guess[chosen], weights=weights)), truth.value, truth.low, truth.high))
    table = np.array(points).reshape(-1, 4)
    columns = {name: column(table[:, i]) for i, name in enumerate(("predicted", "observed", "low", "high"))}
    return Figure(
        "calibration_means", "scatter", columns, {"x": "predicted", "y": "observed", "low": "low", "high": "high"}
    )
