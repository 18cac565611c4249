"""Checks: pure questions put to predictions, a model or a whole procedure; each answers with Evidence.

`run_checks` puts several, `default_checks` names those that suit a task, `tripod` says which items of the reporting
statement the run has filled. A check is a class with the entry point `bedside.checks`; see `Check` for its contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bedside.cohort import plugins
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence, Finding

if TYPE_CHECKING:
    from bedside.checks.protocol import Fit
    from bedside.cohort.cohort import Cohort
    from bedside.models.predictions import Predictions
    from bedside.models.protocol import Model
    from bedside.models.task import Task

__all__ = ["default_checks", "run_checks"]


def run_checks(
    specs: Sequence[Any],
    predictions: Predictions,
    cohort: Cohort,
    *,
    task: Task,
    seed: int,
    level: float = 0.95,
    model: Model | None = None,
    fit: Fit | None = None,
    reference: dict[str, Predictions] | None = None,
    strict: bool = False,
) -> list[Evidence]:
    """The evidence of each check, in the order of `specs`.

    A check that needs a model, or to fit again, where there is none is left out with the finding `check_needs_model`
    (in `assess`), one for another kind of task with `check_not_for_task`. Of several labels, a check of classes is put
    to each (see `labels`). Raises PlanError for these when `strict`
    (in a plan), and for an unknown check or parameter.
    """
    from bedside.checks.labels import answers, by_label

    pieces = []
    for spec in specs:
        check = plugins.build("checks", spec)
        why = None
        if not answers(check, task.kind):
            why = "check_not_for_task"
        elif (check.needs == "model" and model is None) or (check.needs == "refit" and fit is None):
            why = "check_needs_model"
        if why is None:
            put = partial(by_label, check) if task.kind not in check.tasks else check
            given = {"model": model, "fit": fit, "reference": reference}
            pieces.append(put(predictions, cohort, task=task, seed=seed, level=level, **given))
        elif strict:
            raise PlanError(f"the check '{check.name}' cannot be carried out here", "remove it, or give what it needs")
        else:
            pieces.append(Evidence(check.name, findings=(Finding(why, "info", {"check": check.name}),)))
    return pieces


def default_checks(task: Task) -> list[str]:
    """The checks of predictions that suit a task, in the order of the report."""
    if task.kind == "classify" and task.binary:
        return [
            "performance",
            "calibration",
            "utility",
            "thresholds",
            "subgroups",
            "missingness",
            "sample_size",
            "development_size",
        ]
    if task.kind == "multilabel":
        return ["performance", "calibration", "utility", "thresholds", "subgroups"]
    return ["performance", "calibration", "subgroups", "missingness"]
