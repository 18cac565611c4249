"""Baseline: whether the model is better than a simpler one on the same rows, by paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import attempt, finding
from bedside.checks.labels import by_label, means
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import ORIGINAL, Floats, Rows, known_rows, same_rows
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.precision_recall import average_precision_difference
from bedside.evidence.metrics.ranking import auroc_difference
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Multilabel, Task

LOWER_IS_BETTER = frozenset({"brier", "brier_multiclass", "log_loss", "mae", "rmse"})
DECIDES = frozenset(
    {"auroc", "auroc_macro", "brier", "brier_multiclass", "mae"}
)  # the metrics that the findings are about


class Baseline:
    """Model minus baseline on the same rows, for each baseline of `reference`; `versus` names it.

    Two classes: AUROC (paired DeLong by subject), average precision, Brier score. More classes: Brier score, log loss.
    A number: mean absolute and root mean squared error. Differences of losses are means of paired differences by
    subject. The finding is `baseline_wins` when the interval lies wholly on the baseline's side, `baseline_not_beaten`
    when it holds 0, else `baseline_beaten`.
    """

    name: ClassVar[str] = "baseline"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")
    metrics: ClassVar[tuple[str, ...]] = ()  # differences only: they are gated by `versus`
    looks_at: ClassVar[LooksAt] = "outcome"

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
        """Differences and findings. Raises DataError when a baseline holds other rows than the predictions."""
        others = {name: other for name, other in same_rows(predictions, reference).items() if name != ORIGINAL}
        if isinstance(task, Multilabel):
            return self._of_labels(predictions, cohort, task, seed, level, others)
        rows = known_rows(predictions, cohort, task)
        if not others:
            return Evidence(self.name, findings=(*rows.findings, finding("baseline_absent")))
        estimates = [
            item for name, other in others.items() for item in _differences(rows, predictions, other, task, level, name)
        ]
        findings = [found for item in estimates if (found := _said(item)) is not None]
        return Evidence(self.name, tuple(estimates), (), (*rows.findings, *findings))

    def _of_labels(
        self,
        predictions: Predictions,
        cohort: Cohort,
        task: Multilabel,
        seed: int,
        level: float,
        others: dict[str, Predictions],
    ) -> Evidence:
        if not others:
            return Evidence(self.name, findings=(finding("baseline_absent"),))
        found = by_label(self, predictions, cohort, task=task, seed=seed, level=level, reference=others)
        over_labels = [
            replace(item, versus=name)
            for name, other in others.items()
            for item in means(predictions, cohort, task, level, other)
        ]
        said = [each for item in over_labels if (each := _said(item)) is not None]
        return replace(found, estimates=(*over_labels, *found.estimates), findings=(*said, *found.findings))


def _differences(
    rows: Rows, predictions: Predictions, other: Predictions, task: Task, level: float, name: str
) -> list[Estimate]:
    shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
    more: dict[str, Any] = {"otherwise": rows.counts(), "versus": name}
    found: dict[str, Callable[[], Interval]] = {}
    if isinstance(task, Classify) and task.binary:
        y, p, q = rows.event, rows.score, other.score[rows.positions]
        more["n_events"] = int(np.count_nonzero(y))
        found["auroc"] = lambda: auroc_difference(y, p, q, **shared)
        found["average_precision"] = lambda: average_precision_difference(y, p, q, **shared)
        found["brier"] = lambda: mean((p - y) ** 2 - (q - y) ** 2, **shared)
    else:
        mine, theirs = (_losses(rows, each, task) for each in (predictions, other))
        found = {metric: (lambda m=metric: mean(mine[m] - theirs[m], **shared)) for metric in mine}
        if not isinstance(task, Classify):
            more["unit"] = task.unit
    return [attempt(metric, compute, level, **more) for metric, compute in found.items()]


def _losses(rows: Rows, predictions: Predictions, task: Task) -> Mapping[str, Floats]:
    """Columns (rows,) whose weighted mean is the metric and whose spread is its influence."""
    if isinstance(task, Classify):
        p = rows.of(predictions.probabilities)
        own = p[np.arange(len(rows)), rows.truth.astype(np.int64)]
        edge = float(np.finfo(np.float64).eps)
        return {
            "brier_multiclass": np.einsum("rk,rk->r", p, p) - 2 * own + 1,
            "log_loss": -np.log(np.clip(own, edge, 1 - edge)),
        }
    error = predictions.score[rows.positions] - rows.truth
    square = error**2
    root = float(np.sqrt(np.average(square, weights=rows.weights)))
    # √m as the mean of a column: √m + (square − m)/(2√m), the delta method row by row.
    linear = root + (square - root**2) / (2 * root) if root > 0 else square
    return {"mae": np.abs(error), "rmse": linear}


def _said(item: Estimate) -> Finding | None:
    if item.metric not in DECIDES or item.low is None or item.high is None:
        return None
    gain_low, gain_high = (-item.high, -item.low) if item.metric in LOWER_IS_BETTER else (item.low, item.high)
    values = {"metric": item.metric, "baseline": item.versus, "value": item.value, "low": item.low, "high": item.high}
    if gain_high < 0:
        return finding("baseline_wins", "caution", **values)
    if gain_low <= 0:
        return finding("baseline_not_beaten", "caution", **values)
    return finding("baseline_beaten", "info", **values)
