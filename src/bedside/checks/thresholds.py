"""Thresholds: what acting at each threshold would mean for 100 patients: called, found, missed, called for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import attempt, column, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Bools, Rows, known_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Figure
from bedside.evidence.metrics.proportions import proportion
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

GRID = np.linspace(0.0, 1.0, 101)


class Thresholds:
    """Per 100 patients: called, events called, events missed, called without the event; with interval by subject.

    At the declared operating point (`at` empty: the calls as they are) and at each threshold of `at`; the figure runs
    over all thresholds.
    """

    name: ClassVar[str] = "thresholds"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("called", "events_called", "events_missed", "false_alarms")
    looks_at: ClassVar[LooksAt] = "outcome"
    main: ClassVar[str] = "at"

    def __init__(self, at: Sequence[float] | float = (0.05, 0.1, 0.2, 0.3, 0.5)) -> None:
        self.at = at

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
        """Estimates and the figure. Raises PlanError for a threshold outside (0, 1), DataError for rows that differ."""
        at = [self.at] if isinstance(self.at, int | float) else list(self.at)
        wrong = [t for t in at if not 0 < t < 1]
        if wrong:
            raise PlanError(f"thresholds {wrong} do not lie between 0 and 1", "a threshold is a probability")
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        rows = known_rows(predictions, cohort, task)
        estimates = _consequences(rows, rows.of(predictions.calls) == 1, None, level)
        for t in sorted({float(t) for t in at}):
            estimates += _consequences(rows, rows.score >= t, {"threshold": t}, level)
        return Evidence(self.name, tuple(estimates), (_figure(rows),), rows.findings)


def declared_threshold(predictions: Predictions) -> float | None:
    """The threshold that the calls were made at (the median where folds differ), or None when none was recorded."""
    if "threshold" not in predictions.frame.columns:
        return None
    value = predictions.frame["threshold"].median()
    return float(value) if isinstance(value, int | float) else None


def _consequences(rows: Rows, call: Bools, at: dict[str, float] | None, level: float) -> list[Estimate]:
    y = rows.event
    more: dict[str, Any] = {"otherwise": rows.counts(), "n_events": int(np.count_nonzero(y)), "at": at}

    def share(hit: Bools) -> Any:
        return lambda: proportion(hit, level=level, subject=rows.subjects, weights=rows.weights)

    return [
        attempt("called", share(call), level, **more),
        attempt("events_called", share(call & y), level, **more),
        attempt("events_missed", share(~call & y), level, **more),
        attempt("false_alarms", share(call & ~y), level, **more),
    ]


def _figure(rows: Rows) -> Figure:
    """Shares over a grid of thresholds, by one sort."""
    y = rows.event
    w = np.ones(len(rows)) if rows.weights is None else rows.weights
    order = np.argsort(rows.score, kind="stable")
    first = np.searchsorted(rows.score[order], GRID, side="left")

    def at_or_above(x: np.ndarray) -> np.ndarray:
        return np.append(np.cumsum(x[order][::-1])[::-1], 0.0)[first] / w.sum()

    called, found = at_or_above(w), at_or_above(np.where(y, w, 0.0))
    lines = {
        "called": called,
        "events_called": found,
        "events_missed": found[0] - found,
        "false_alarms": called - found,
    }
    columns = {
        "threshold": column(np.tile(GRID, len(lines))),
        "share": column(np.concatenate(list(lines.values()))),
        "series": [name for name in lines for _ in GRID],
    }
    return Figure("consequences", "line", columns, {"x": "threshold", "y": "share", "series": "series"})
