"""Performance: how well the predictions tell the classes apart, how good the calls are, how far a number is off."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, get_args

from bedside.checks.labels import MACRO as OF_LABELS
from bedside.checks.labels import by_label, means, partly_known
from bedside.checks.performance_binary import METRICS as OF_BINARY
from bedside.checks.performance_binary import binary
from bedside.checks.performance_multiclass import METRICS as OF_CLASSES
from bedside.checks.performance_multiclass import multiclass
from bedside.checks.performance_regression import METRICS as OF_NUMBER
from bedside.checks.performance_regression import regression
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import known_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence
from bedside.evidence.metrics.proportions import Method
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Multilabel, Task


class Performance:
    """The usual metrics of the task with intervals by subject, and its curves; of labels each one's, and their means.

    Calls are those of the predictions (their declared operating point, so `at` is empty). `replicates` are bootstrap
    samples of subjects where no closed form holds (average precision). `interval` is that of two classes' shares
    (sensitivity, specificity, predictive values, accuracy, prevalence): wilson, clopper_pearson or jeffreys.
    """

    name: ClassVar[str] = "performance"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")
    metrics: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys((*OF_BINARY, *OF_CLASSES, *OF_LABELS, *OF_NUMBER)))
    looks_at: ClassVar[LooksAt] = "outcome"

    def __init__(self, replicates: int = 1000, points: int = 200, interval: Method = "wilson") -> None:
        if interval not in get_args(Method):
            raise PlanError(f"interval {interval!r} is not known", "one of " + ", ".join(get_args(Method)))
        self.interval: Method = interval
        self.replicates = replicates
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
        """Estimates and figures. Raises DataError when predictions and cohort differ in rows, or no truth is known."""
        if isinstance(task, Multilabel):
            found = by_label(self, predictions, cohort, task=task, seed=seed, level=level)
            estimates = (*means(predictions, cohort, task, level), *found.estimates)
            return replace(found, estimates=estimates, findings=(*partly_known(cohort, task), *found.findings))
        rows = known_rows(predictions, cohort, task)
        if not isinstance(task, Classify):
            estimates, figures = regression(rows, task, level=level)
        elif task.binary:
            calls = rows.of(predictions.calls) == 1
            estimates, figures = binary(
                rows,
                calls,
                task,
                level=level,
                seed=seed,
                replicates=self.replicates,
                points=self.points,
                interval=self.interval,
            )
        else:
            p, calls = rows.of(predictions.probabilities), rows.of(predictions.calls)
            estimates, figures = multiclass(rows, p, calls, task, level=level, seed=seed, replicates=self.replicates)
        return Evidence(self.name, tuple(estimates), tuple(figures), rows.findings)
