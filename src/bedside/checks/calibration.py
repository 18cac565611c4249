"""Calibration: whether a predicted risk of 20 % means that 20 of 100 have the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from bedside.checks.assemble import attempt, column, estimate, finding
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Rows, known_rows
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding
from bedside.evidence.metrics import calibration as models
from bedside.evidence.metrics.calibration_curve import calibration_curve
from bedside.evidence.metrics.calibration_error import calibration_errors_of, ece_of
from bedside.evidence.metrics.interval import Interval, Refused
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

LINES = ("calibration_in_the_large", "calibration_slope", "oe_ratio", "ece")
ERRORS = ("ici", "e50", "e90", "emax")


class Calibration:
    """In the large, slope, O/E, ICI, E50, E90, Emax, ECE, the flexible curve with its band, and the histogram of risks.

    With more than two classes, each class against the rest (`at` names the class). For a number to predict: slope and
    intercept of the truth on the prediction, and the mean truth over tenths of the prediction.
    `bins` are those of ECE and the histogram, `draws` of the curve's coefficients give the intervals of its distances.
    """

    name: ClassVar[str] = "calibration"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    metrics: ClassVar[tuple[str, ...]] = (*LINES, *ERRORS, "calibration_intercept")
    looks_at: ClassVar[LooksAt] = "outcome"

    def __init__(self, bins: int = 10, draws: int = 1000, histogram: int = 20) -> None:
        self.bins = bins
        self.draws = draws
        self.histogram = histogram

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Estimates and figures. Raises DataError when predictions and cohort differ in rows, or no truth is known."""
        rows = known_rows(predictions, cohort, task)
        if not isinstance(task, Classify):
            from bedside.checks.calibration_number import of_number

            estimates, figures = of_number(rows, task, level=level)
            return Evidence(self.name, tuple(estimates), tuple(figures), rows.findings)
        estimates, figures, findings = [], [], list(rows.findings)
        p = rows.of(predictions.probabilities)
        for index in [1] if task.binary else range(len(task.classes)):
            at = None if task.binary else {"class": task.classes[index]}
            found = self._of_class(rows, rows.truth == index, p[:, index], at, level, seed)
            estimates += found[0]
            if task.binary:
                figures, findings = found[1], findings + _findings(found[0])
        return Evidence(self.name, tuple(estimates), tuple(figures), tuple(findings))

    def _of_class(
        self, rows: Rows, y: np.ndarray, p: np.ndarray, at: dict[str, str] | None, level: float, seed: int
    ) -> tuple[list[Estimate], list[Figure]]:
        forecasts = models.Forecasts.of(y, p, rows.subjects, rows.weights)
        of_risks: dict[str, Callable[[], Interval]] = {
            "calibration_in_the_large": lambda: models.calibration_in_the_large_of(forecasts, level),
            "calibration_slope": lambda: models.calibration_slope_of(forecasts, level),
            "oe_ratio": lambda: models.oe_ratio_of(forecasts, level),
            "ece": lambda: ece_of(forecasts, level, self.bins, self.draws, seed),
        }
        more = {"n_events": int(np.count_nonzero(y)), "at": at}
        everyone = rows.counts()
        estimates = [attempt(name, compute, level, otherwise=everyone, **more) for name, compute in of_risks.items()]
        distances: dict[str, Interval | Refused]
        try:
            distances = {**calibration_errors_of(forecasts, level, None, self.draws, seed)}
        except ValueError as error:
            distances = {name: Refused(str(error), **everyone) for name in ERRORS}
        estimates += [estimate(name, distances[name], level, **more) for name in ERRORS]
        return estimates, [*_curve(rows, y, p, level), _histogram(y, p, self.histogram)]


def _findings(estimates: list[Estimate]) -> list[Finding]:
    """What the intervals of the slope and of O/E say in words, when they say anything."""
    found = []
    said = {
        "calibration_slope": ("risks_too_extreme", "risks_too_moderate"),
        "oe_ratio": ("risks_too_high", "risks_too_low"),
    }
    for item in estimates:
        if item.metric in said and item.low is not None and item.high is not None and not item.low <= 1 <= item.high:
            key = said[item.metric][0] if item.high < 1 else said[item.metric][1]
            found.append(finding(key, "caution", value=item.value, low=item.low, high=item.high))
    return found


def _curve(rows: Rows, y: np.ndarray, p: np.ndarray, level: float) -> list[Figure]:
    try:
        curve = calibration_curve(y, p, level=level, subject=rows.subjects, weights=rows.weights)
    except ValueError:
        return []
    columns = {
        "predicted_risk": column(curve.p),
        "observed_risk": column(curve.observed),
        "low": column(curve.low),
        "high": column(curve.high),
    }
    return [
        Figure(
            "calibration_curve",
            "band",
            columns,
            {"x": "predicted_risk", "y": "observed_risk", "low": "low", "high": "high"},
        )
    ]


def _histogram(y: np.ndarray, p: np.ndarray, bins: int) -> Figure:
    """Rows with and without the event in equal bins of predicted risk."""
    edges = np.linspace(0, 1, bins + 1)
    with_event, without = (np.histogram(p[chosen], edges)[0] for chosen in (y, ~y))
    columns = {
        "predicted_risk": column(np.tile((edges[:-1] + edges[1:]) / 2, 2)),
        "low": column(np.tile(edges[:-1], 2)),
        "high": column(np.tile(edges[1:], 2)),
        "count": column(np.concatenate([with_event, without])),
        "outcome": ["event"] * bins + ["no_event"] * bins,
    }
    axes = {"x": "predicted_risk", "y": "count", "low": "low", "high": "high", "series": "outcome"}
    return Figure("risk_distribution", "histogram", columns, axes)
