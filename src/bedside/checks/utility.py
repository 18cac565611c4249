"""Utility: whether acting on the model does more good than acting on everybody, on nobody, or on a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import attempt, exact, finding, two_classes_only
from bedside.checks.decision_figures import decision_figures
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Floats, Rows, known_rows, same_rows
from bedside.checks.thresholds import declared_threshold
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.proportions import proportion
from bedside.evidence.metrics.utility import (
    Curve,
    NetBenefit,
    interventions_avoided,
    net_benefit,
    net_benefit_difference,
)
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
        figures = decision_figures(rows, others, grid, self.prevalence, level)
        return Evidence(self.name, tuple(estimates), tuple(figures), (*rows.findings, *_findings(estimates)))

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
        y, p, odds = rows.event, rows.score, t / (1 - t)
        shared: dict[str, Any] = {
            "prevalence": self.prevalence,
            "level": level,
            "subject": rows.subjects,
            "weights": rows.weights,
        }
        more: dict[str, Any] = {
            "n_events": int(np.count_nonzero(y)),
            "at": {"threshold": t},
            "otherwise": rows.counts(),
        }

        def model() -> Interval:
            curve = net_benefit(y, p, [t], **shared)
            return _first(curve.model, curve, rows)

        def everyone() -> Interval:
            rate = proportion(y, level=level, subject=rows.subjects, weights=rows.weights)
            value, low, high = (x - (1 - x) * odds for x in (rate.value, rate.low, rate.high))
            return replace(rate, value=value, low=low, high=high, se=rate.se * (1 + odds))

        def against(other: Floats | None) -> Interval:
            curve = net_benefit_difference(y, p, other, [t], **shared)
            return _first(curve.value, curve, rows)

        def avoided() -> Interval:
            curve = interventions_avoided(y, p, [t], **shared)
            return _first(curve.value, curve, rows)

        estimates = [attempt("net_benefit", model, level, **more)]
        if self.prevalence is None:
            estimates.append(attempt("net_benefit_treat_all", everyone, level, **more))
        else:
            value = self.prevalence - (1 - self.prevalence) * odds
            estimates.append(exact("net_benefit_treat_all", value, method="formula", at=more["at"], **rows.counts()))
        for name, other in [("treat_all", None), *others.items()]:
            estimates.append(attempt("net_benefit", lambda o=other: against(o), level, versus=name, **more))
        return [*estimates, attempt("interventions_avoided", avoided, level, **more)]


def _first(value: Floats, curve: NetBenefit | Curve, rows: Rows) -> Interval:
    """The one point of a curve as an interval."""
    ends = float(curve.low[0]), float(curve.high[0]), float(curve.se[0])
    return Interval(float(value[0]), *ends, curve.method, **rows.counts())


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
