"""Optimism: how much better the procedure looks on the patients it learnt from than it would on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import polars as pl

from bedside.checks.assemble import estimate, finding, reason, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import known_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.binary import brier
from bedside.evidence.metrics.calibration import calibration_slope
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.ranking import auroc
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

METRICS: Mapping[str, Callable[..., Interval]] = {
    "auroc": auroc,
    "brier": brier,
    "calibration_slope": calibration_slope,
}
MOST_FAILED = 0.2


class Optimism:
    """Harrell's bootstrap: AUROC, Brier score and calibration slope corrected for optimism (Harrell 1996).

    The whole procedure is carried out on the cohort (apparent performance), then on `bootstraps` samples of its
    subjects, each tried on its own sample and on the cohort; the mean difference is the optimism. The corrected value
    is apparent − optimism, its interval the apparent one moved by it (location shift, Noma 2021). Copies of a subject
    keep its id, so that no split inside the procedure parts them. Give it the development rows.
    """

    name: ClassVar[str] = "optimism"
    needs: ClassVar[Needs] = "refit"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = tuple(
        f"{name}_{end}" for name in ("auroc", "brier", "calibration_slope") for end in ("corrected", "optimism")
    )
    looks_at: ClassVar[LooksAt] = "inputs"
    main: ClassVar[str] = "bootstraps"

    def __init__(self, bootstraps: int = 50) -> None:
        self.bootstraps = bootstraps

    def __call__(
        self,
        predictions: Predictions | None,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Corrected values and optimism. Raises PlanError without `fit` or with fewer than 2 bootstraps."""
        if fit is None:
            raise PlanError("optimism needs to fit the procedure again", "it cannot be asked of predictions alone")
        if self.bootstraps < 2:
            raise PlanError(f"optimism: {self.bootstraps} bootstraps", "50 are usual, at least 2 are needed")
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        cohort = cohort.take(np.flatnonzero(task.truth(cohort) >= 0))
        apparent = _measured(fit(cohort, seed), cohort, task, level)
        rng = np.random.default_rng(seed)
        optimism: dict[str, list[float]] = {name: [] for name in METRICS}
        failed = 0
        for b in range(self.bootstraps):
            sample = resampled(cohort, rng)
            try:
                model_of_sample = fit(sample, seed + 1 + b)
            except DataError:  # a sample of one class, or too few of it: the procedure cannot be carried out
                failed += 1
                continue
            on_sample = _measured(model_of_sample, sample, task, level)
            on_cohort = _measured(model_of_sample, cohort, task, level)
            for name in METRICS:
                a, c = on_sample[name], on_cohort[name]
                if isinstance(a, Interval) and isinstance(c, Interval):
                    optimism[name].append(a.value - c.value)
        findings: list[Finding] = [finding("optimism_bootstraps", n=self.bootstraps - failed)]
        if failed:
            findings.append(finding("optimism_samples_failed", "caution", n=failed, of=self.bootstraps))
        estimates = [
            each
            for name in METRICS
            for each in _corrected(name, apparent[name], optimism[name], self.bootstraps, cohort, task, level)
        ]
        return Evidence(self.name, tuple(estimates), (), tuple(findings))


def resampled(cohort: Cohort, rng: np.random.Generator) -> Cohort:
    """As many subjects drawn with replacement, with all their rows; row ids become `1:id`, and `2:id` for a copy …"""
    drawn = np.bincount(rng.integers(0, cohort.n_subjects, cohort.n_subjects), minlength=cohort.n_subjects)
    times = drawn[cohort.subject_codes]
    rows = np.repeat(np.arange(len(cohort)), times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times) + 1
    frame = cohort.frame[rows]
    ids = pl.Series(copy).cast(pl.String) + ":" + frame["row_id"]
    return cohort.derive(frame.with_columns(ids.alias("row_id")))


def _measured(model: Model, cohort: Cohort, task: Classify, level: float) -> dict[str, Interval | str]:
    """Each metric of a model on a cohort, or the reason why there is none."""
    rows = known_rows(model.predict(cohort), cohort, task)
    out: dict[str, Interval | str] = {}
    for name, metric in METRICS.items():
        try:
            out[name] = metric(rows.event, rows.score, level=level, subject=rows.subjects, weights=rows.weights)
        except ValueError as error:
            out[name] = reason(str(error))
    return out


def _corrected(
    name: str,
    apparent: Interval | str,
    optimism: list[float],
    wanted: int,
    cohort: Cohort,
    task: Classify,
    level: float,
) -> list[Estimate]:
    counts: dict[str, Any] = {"n_rows": len(cohort), "n_subjects": cohort.n_subjects}
    counts["n_events"] = int((task.truth(cohort) == 1).sum())
    if isinstance(apparent, str) or len(optimism) < max(2, (1 - MOST_FAILED) * wanted):
        why = apparent if isinstance(apparent, str) else "why_too_few_events"
        return [Estimate(f"{name}_{end}", None, why_not=why, **counts) for end in ("corrected", "optimism")]
    gap = mean(np.array(optimism), level=level)
    moved = Interval(
        apparent.value - gap.value, apparent.low - gap.value, apparent.high - gap.value, apparent.se, "location_shift"
    )
    over_samples = Interval(gap.value, gap.low, gap.high, gap.se, "over_bootstraps")
    return [
        estimate(f"{name}_corrected", moved, level, **counts),
        estimate(f"{name}_optimism", over_samples, level, **counts),
    ]
