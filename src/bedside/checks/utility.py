"""Utility: whether acting on the model does more good than acting on everybody, on nobody, or on a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import column, estimate, exact, finding, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Floats, Rows, known_rows, same_rows
from bedside.checks.thresholds import declared_threshold
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.proportions import proportion
from bedside.evidence.metrics.utility import interventions_avoided, net_benefit, net_benefit_difference
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

DEFAULT_AT = (0.05, 0.1, 0.2, 0.3)


class Utility:
    """Decision curves of the model, of each baseline in `reference`, of treating all and none; interventions avoided.

    `low`..`high` is the range of threshold probabilities: by default a fifth to five times the odds of the declared
    threshold, or 0.01–0.5 where none is declared. `at` are thresholds whose net benefits are estimates (by default the
    declared one). `prevalence` replaces the observed one (case-control data). Source: Vickers and Elkin 2006.
    """

    name: ClassVar[str] = "utility"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("net_benefit", "net_benefit_treat_all", "interventions_avoided")
    looks_at: ClassVar[LooksAt] = "outcome"

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        at: Sequence[float] | None = None,
        prevalence: float | None = None,
        points: int = 50,
    ) -> None:
        self.low = low
        self.high = high
        self.at = at
        self.prevalence = prevalence
        self.points = points

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
        """Estimates and the curves. Raises PlanError for a range outside (0, 1), DataError for rows that differ."""
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        rows = known_rows(predictions, cohort, task)
        declared = declared_threshold(predictions)
        grid = self._grid(declared)
        others = {name: other.score[rows.positions] for name, other in same_rows(predictions, reference).items()}
        default = DEFAULT_AT if declared is None else (declared,)
        estimates = []
        for t in sorted({float(t) for t in (default if self.at is None else self.at)}):
            estimates += self._at(rows, others, t, level)
        findings = [*rows.findings, *_findings(estimates)]
        shared = {"prevalence": self.prevalence, "level": level, "subject": rows.subjects, "weights": rows.weights}
        figures = [_decision_curve(rows, others, grid, shared), _avoided(rows, grid, shared)]
        return Evidence(self.name, tuple(estimates), tuple(figures), tuple(findings))

    def _grid(self, declared: float | None) -> Floats:
        low, high = 0.01, 0.5
        if declared is not None and 0 < declared < 1:
            odds = declared / (1 - declared)
            low, high = max(odds / 5 / (1 + odds / 5), 0.001), min(odds * 5 / (1 + odds * 5), 0.99)
        low = low if self.low is None else self.low
        high = high if self.high is None else self.high
        if not 0 < low < high < 1 or not all(0 < t < 1 for t in self.at or ()):
            raise PlanError(f"utility thresholds {low:g}–{high:g}, at {self.at}: not within 0 and 1", "low < high")
        return np.linspace(low, high, self.points)

    def _at(self, rows: Rows, others: dict[str, Floats], t: float, level: float) -> list[Estimate]:
        y, p = rows.event, rows.score
        shared = {"prevalence": self.prevalence, "level": level, "subject": rows.subjects, "weights": rows.weights}
        more: dict[str, Any] = {**rows.counts(), "n_events": int(np.count_nonzero(y)), "at": {"threshold": t}}
        curve = net_benefit(y, p, [t], **shared)
        odds = t / (1 - t)
        estimates = [estimate("net_benefit", _first(curve.model, curve), level, **more)]
        if self.prevalence is None:
            rate = proportion(y, level=level, subject=rows.subjects, weights=rows.weights)
            value, low, high = (x - (1 - x) * odds for x in (rate.value, rate.low, rate.high))
            everyone = Interval(value, low, high, rate.se * (1 + odds), rate.method)
            estimates.append(estimate("net_benefit_treat_all", everyone, level, **more))
        else:
            estimates.append(exact("net_benefit_treat_all", float(curve.all[0]), **more))
        for name, other in [("treat_all", None), *others.items()]:
            difference = net_benefit_difference(y, p, other, [t], **shared)
            estimates.append(estimate("net_benefit", _first(difference.value, difference), level, versus=name, **more))
        avoided = interventions_avoided(y, p, [t], **shared)
        estimates.append(estimate("interventions_avoided", _first(avoided.value, avoided), level, **more))
        return estimates


def _first(value: Floats, curve: Any) -> Interval:
    """The one point of a curve as an interval."""
    return Interval(float(value[0]), float(curve.low[0]), float(curve.high[0]), float(curve.se[0]), curve.method)


def _findings(estimates: list[Estimate]) -> list[Finding]:
    """Thresholds at which the model does less good than treating all, or none."""
    found = []
    for item in estimates:
        judged = item.metric == "net_benefit" and item.versus in (None, "treat_all")
        if judged and item.high is not None and item.high < 0:
            key = "worse_than_treating_none" if item.versus is None else "worse_than_treating_all"
            at = (item.at or {})["threshold"]
            found.append(finding(key, "caution", threshold=at, value=item.value, low=item.low, high=item.high))
    return found


def _decision_curve(rows: Rows, others: dict[str, Floats], grid: Floats, shared: dict[str, Any]) -> Figure:
    y = rows.event
    curve = net_benefit(y, rows.score, grid, **shared)
    blank = np.full(len(grid), np.nan)
    lines = [("model", curve.model, curve.low, curve.high)]
    lines += [(name, net_benefit(y, p, grid, **shared).model, blank, blank) for name, p in others.items()]
    lines += [("treat_all", curve.all, blank, blank), ("treat_none", curve.none, blank, blank)]
    columns = {
        "threshold": column(np.tile(grid, len(lines))),
        "net_benefit": column(np.concatenate([line[1] for line in lines])),
        "low": column(np.concatenate([line[2] for line in lines])),
        "high": column(np.concatenate([line[3] for line in lines])),
        "series": [line[0] for line in lines for _ in grid],
    }
    axes = {"x": "threshold", "y": "net_benefit", "low": "low", "high": "high", "series": "series"}
    return Figure("decision_curve", "band", columns, axes)


def _avoided(rows: Rows, grid: Floats, shared: dict[str, Any]) -> Figure:
    curve = interventions_avoided(rows.event, rows.score, grid, **shared)
    columns = {
        "threshold": column(grid),
        "interventions_avoided": column(curve.value),
        "low": column(curve.low),
        "high": column(curve.high),
    }
    axes = {"x": "threshold", "y": "interventions_avoided", "low": "low", "high": "high"}
    return Figure("interventions_avoided_curve", "band", columns, axes)
