"""Several labels: a check of classes is put to each label, and `label` in `at` says whose each estimate is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bedside.checks.assemble import attempt, finding
from bedside.checks.protocol import Check, Fit
from bedside.checks.rows import known_labels
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding, join
from bedside.evidence.metrics import multilabel as metrics
from bedside.evidence.metrics.interval import Interval
from bedside.models.predictions import Predictions
from bedside.models.task import Multilabel

MACRO = ("auroc_macro", "sensitivity_macro", "specificity_macro", "brier_macro")


def answers(check: Any, kind: str) -> bool:
    """Whether a check can be put to a kind of task: one that it names, or labels, to each of which it is put."""
    return kind in check.tasks or (kind == "multilabel" and "classify" in check.tasks)


def by_label(
    check: Check,
    predictions: Predictions,
    cohort: Cohort,
    *,
    task: Multilabel,
    seed: int,
    level: float,
    model: Any = None,
    fit: Any = None,
    reference: dict[str, Predictions] | None = None,
) -> Evidence:
    """The evidence of a check of two classes on each label: the rows that know it, its predictions, its own model."""
    pieces = []
    for label in task.labels:
        name = label.target
        found = check(
            predictions.of_label(name),
            cohort,
            task=label,
            seed=seed,
            level=level,
            model=None if model is None else model.of_label(name),
            fit=None if fit is None else _fit_of(fit, name),
            reference=None if reference is None else {key: each.of_label(name) for key, each in reference.items()},
        )
        pieces.append(_marked(found, name))
    return join(check.name, pieces)


def partly_known(cohort: Cohort, task: Multilabel) -> list[Finding]:
    """For each label how many rows do not know it, where there are any."""
    unknown = (task.truth(cohort) < 0).sum(axis=0)
    return [
        finding("label_partly_known", n=int(n), rows=len(cohort), label=name)
        for name, n in zip(task.targets, unknown, strict=True)
        if n
    ]


def means(
    predictions: Predictions, cohort: Cohort, task: Multilabel, level: float, other: Predictions | None = None
) -> list[Estimate]:
    """Means over labels with interval by subject; with `other`, those of the difference to it."""
    rows = known_labels(predictions, cohort, task)
    y, p = rows.truth, predictions.probabilities[rows.positions]
    shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
    if other is not None:
        q = other.probabilities[rows.positions]
        found: dict[str, Callable[[], Interval]] = {
            "auroc_macro": lambda: metrics.macro_auroc_difference(y, p, q, **shared)
        }
    else:
        call = _calls(predictions, task)[rows.positions]
        found = {
            "auroc_macro": lambda: metrics.macro_auroc(y, p, **shared),
            "sensitivity_macro": lambda: metrics.macro_sensitivity(y, call, **shared),
            "specificity_macro": lambda: metrics.macro_specificity(y, call, **shared),
            "brier_macro": lambda: metrics.macro_brier(y, p, **shared),
        }
    return [attempt(name, compute, level, otherwise=rows.counts) for name, compute in found.items()]


def _calls(predictions: Predictions, task: Multilabel) -> Any:
    return np.column_stack([predictions.of_label(name).calls == 1 for name in task.targets])


def _fit_of(fit: Fit, name: str) -> Fit:
    """The procedure of all labels, of whose model one label is asked."""

    def fitted(train: Cohort, seed: int) -> Any:
        made: Any = fit(train, seed)
        return made.of_label(name)

    return fitted


def _marked(found: Evidence, name: str) -> Evidence:
    """The evidence with the label in every estimate, figure and finding."""
    kept = [item for item in found.findings if item.id != "rows_without_truth"]  # said once, by `partly_known`
    return replace(
        found,
        estimates=tuple(replace(item, at={**(item.at or {}), "label": name}) for item in found.estimates),
        figures=tuple(_figure(each, name) for each in found.figures),
        findings=tuple(replace(item, values={**item.values, "label": name}) for item in kept),
    )


def _figure(figure: Figure, name: str) -> Figure:
    rows = max((len(column) for column in figure.columns.values()), default=0)
    return replace(figure, columns={"label": [name] * rows, **figure.columns})
