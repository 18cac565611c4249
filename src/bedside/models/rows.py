"""From a cohort to what any family learns from beside its inputs: rows in order, target, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.models.task import Classify, Multilabel, Task

ClassWeight = Literal["balanced", "costs"] | Mapping[str, float] | None


def in_row_order(cohort: Cohort) -> Cohort:
    """The rows sorted by row id, so that what is learnt does not depend on the order they came in."""
    order = cohort.frame["row_id"].arg_sort().to_numpy().astype(np.int64)
    return cohort if (order == np.arange(len(order))).all() else cohort.take(order)


def target(cohort: Cohort, task: Task, who: str, *, one_class: bool = False) -> NDArray[np.int64] | NDArray[np.float64]:
    """Class codes or values, shape (rows,); raises DataError for a missing or unknown target, no rows, or (unless
    `one_class` may be) a single class.

    Of labels 1, 0 or −1 (unknown), shape (rows, labels): only a row that knows none is refused, and a label that has
    one class only in the rows that know it is named.
    """
    y = task.truth(cohort)
    if isinstance(task, Multilabel):
        return _labels(task, y.astype(np.int64), who, one_class=one_class)
    unknown = int((y < 0).sum()) if isinstance(task, Classify) else int(np.isnan(y).sum())
    if unknown:
        raise DataError(
            f"target '{task.target}' is missing or of an unknown class in {unknown} of {len(y)} rows given to '{who}'",
            "drop these rows in clean",
        )
    if len(y) == 0:
        raise DataError(f"'{who}' was given no rows to learn from")
    if isinstance(task, Classify) and not one_class and len(np.unique(y)) < 2:
        found = task.classes[int(y[0])]
        raise DataError(
            f"all {len(y)} rows given to '{who}' have one class of '{task.target}': {found}",
            "a classifier needs both; use more rows, fewer folds, or stratify the split",
        )
    return y


def _labels(task: Multilabel, y: NDArray[np.int64], who: str, *, one_class: bool) -> NDArray[np.int64]:
    if len(y) == 0:
        raise DataError(f"'{who}' was given no rows to learn from")
    unknown = int((y < 0).all(axis=1).sum())
    if unknown:
        names = ", ".join(task.targets)
        raise DataError(f"{unknown} of {len(y)} rows given to '{who}' know none of the labels {names}", "drop them")
    for label, column in zip(task.labels, y.T, strict=True):
        known = column[column >= 0]
        if not one_class and len(np.unique(known)) < 2:
            found = "no value" if len(known) == 0 else f"one class: {label.classes[int(known[0])]}"
            raise DataError(
                f"label '{label.target}' has {found}, in all {len(known)} rows given to '{who}' that know it",
                "leave the label out, or use more rows, fewer folds, or a larger share",
            )
    return y


def weights(
    cohort: Cohort, task: Task, y: NDArray[np.int64] | NDArray[np.float64], class_weight: ClassWeight
) -> NDArray[np.float64] | None:
    """Weight of each row, mean 1, shape (rows,), or None when all are equal.

    The field with the role weight, times the class weight: "balanced" (inverse to the class's total weight), "costs"
    (the task's cost of missing the class), or weights by label. Raises DataError for a weight that is missing or
    negative, PlanError for an unknown label or costs that the task lacks.
    """
    if cohort.schema.one("weight") is None and class_weight is None:
        return None
    own = row_weights(cohort)
    w = np.ones(len(y)) if own is None else own
    if class_weight is not None:
        if not isinstance(task, Classify):
            raise PlanError("class_weight is for classes, and a number is predicted", "leave it out")
        w = w * _by_class(task, y.astype(np.int64), w, class_weight)[y.astype(np.int64)]
    scaled: NDArray[np.float64] = w / w.mean()
    return scaled


def row_weights(cohort: Cohort) -> NDArray[np.float64] | None:
    """The field with the role weight, shape (rows,), None without one; raises DataError unless all are ≥ 0."""
    item = cohort.schema.one("weight")
    if item is None:
        return None
    column = cohort[item.name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if not np.isfinite(column).all() or (column < 0).any() or column.sum() <= 0:
        raise DataError(f"weights '{item.name}' must be numbers ≥ 0 with a sum above 0, none missing")
    return np.asarray(column, dtype=np.float64)


def _by_class(
    task: Classify, y: NDArray[np.int64], w: NDArray[np.float64], class_weight: ClassWeight
) -> NDArray[np.float64]:
    if class_weight == "balanced":
        totals = np.bincount(y, weights=w, minlength=len(task.classes))
        out = np.zeros(len(totals))
        out[totals > 0] = totals.sum() / (len(task.classes) * totals[totals > 0])
        return out
    if class_weight == "costs":
        if task.costs is None or not task.binary:
            raise PlanError("class_weight: costs needs a task of two classes with costs", "declare task.costs")
        return np.array([task.costs["false_positive"], task.costs["false_negative"]], dtype=np.float64)
    if isinstance(class_weight, Mapping):
        unknown = sorted(set(class_weight) - set(task.classes))
        if unknown:
            raise PlanError(f"class_weight names unknown classes {unknown}", f"classes: {list(task.classes)}")
        return np.array([float(class_weight.get(label, 1.0)) for label in task.classes])
    raise PlanError(f"class_weight {class_weight!r} is not known", "balanced, costs, or {label: weight}")
