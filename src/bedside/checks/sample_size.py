"""Sample size: how many patients it takes to validate such a model, and whether there were so many."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import exact, finding, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import known_rows
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.calibration import logit
from bedside.evidence.metrics.ranking import auroc_influence, ranking_of
from bedside.evidence.metrics.samplesize import validation_size
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

METRICS = ("n_required_validation", "n_required_oe", "n_required_slope", "n_required_c_statistic")
FEWEST_EVENTS = 100  # and rows without: Collins, Ogundimu and Altman 2016


class SampleSize:
    """Rows needed to validate to the precision of Riley 2021: for O/E, calibration slope, c-statistic, and all three.

    Prevalence, c-statistic and the spread of risks are those of the rows judged. The widths are those of the intervals
    wanted. All are arithmetic, so they have no interval.
    """

    name: ClassVar[str] = "sample_size"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = METRICS
    looks_at: ClassVar[LooksAt] = "outcome"

    def __init__(self, oe_width: float = 0.2, slope_width: float = 0.2, c_width: float = 0.1) -> None:
        self.oe_width = oe_width
        self.slope_width = slope_width
        self.c_width = c_width

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
        """Required sizes and findings."""
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        rows = known_rows(predictions, cohort, task)
        y, n = rows.event, len(rows)
        events = int(np.count_nonzero(y))
        counts: dict[str, Any] = {**rows.counts(), "n_events": events}
        findings = list(rows.findings)
        if min(events, n - events) < FEWEST_EVENTS:
            values = {"n": min(events, n - events), "fewest": FEWEST_EVENTS}
            findings.append(finding("validation_few_events", "caution", **values))
        try:
            size = validation_size(
                events / n,
                _c_statistic(y, rows.score),
                logit(rows.score),
                oe_width=self.oe_width,
                slope_width=self.slope_width,
                c_width=self.c_width,
                level=level,
            )
        except ValueError:
            why = "why_one_class" if events in (0, n) else "why_constant"
            refused = Estimate("n_required_validation", None, why_not=why, **counts)
            return Evidence(self.name, (refused,), (), tuple(findings))
        needed = dict(zip(METRICS, (size.n, size.oe, size.slope, size.c_statistic), strict=True))
        estimates = [exact(metric, each, method="formula", **counts) for metric, each in needed.items()]
        key, severity = ("validation_adequate", "info") if n >= size.n else ("validation_too_small", "caution")
        findings.append(finding(key, severity, n=n, needed=size.n))
        return Evidence(self.name, tuple(estimates), (), tuple(findings))


def _c_statistic(y: np.ndarray, score: np.ndarray) -> float:
    """The AUROC of these rows, kept where a sample size can be computed from it."""
    theta, _ = auroc_influence(ranking_of(y, score, None, None))
    return min(max(theta, 0.501), 0.999)
