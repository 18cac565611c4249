"""Additive explanations by field: terms of linear models and EBMs, tree SHAP of tree ensembles; verified to add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.models.protocol import HasTerms, HasTrees, Model
from bedside.models.task import Classify, Task

Scale = Literal["log_odds", "probability", "value"]
PAIR = " × "
MARKS = frozenset("=.:~#^")  # what a step puts between a field's name and that of a column made of it


@dataclass(frozen=True, eq=False)
class Contributions:
    """`values` (rows, fields) + `base` = the score before calibration, on its `scale`.

    Fields are those of the cohort (columns that a step made of one are added up; a pair of an EBM reads "a × b"); those
    of `contributions` are centred on these rows. `error` is the largest distance between the sum and the prediction.
    """

    fields: tuple[str, ...]
    values: NDArray[np.float64]
    base: float
    scale: Scale
    method: Literal["terms", "tree_shap"]
    error: float


def contributions(model: Model, cohort: Cohort, task: Task) -> Contributions | None:
    """The contributions of each field to each row's score, or None where the model has none that add up exactly.

    That is: any model that is neither additive nor of trees, and more than two classes.
    """
    found = uncentred(model, cohort, task)
    if found is None:
        return None
    centre = found.values.mean(axis=0)
    return replace(found, values=found.values - centre, base=found.base + float(centre.sum()))


def uncentred(model: Model, cohort: Cohort, task: Task) -> Contributions | None:
    """The same from the model's own zero, so that rows asked one at a time read alike."""
    if isinstance(task, Classify) and not task.binary:
        return None
    inner, seen = inside(model, cohort)
    found = _of(inner, seen)
    if found is None:
        return None
    columns, values, base, method = found
    scale = _scale(inner, task)
    total = values.sum(axis=1) + base
    predicted = inner.predict(seen).score
    error = np.abs((_expit(total) if scale == "log_odds" else total) - predicted)
    if scale == "value":
        error = error / max(1.0, float(np.abs(predicted).max()))  # a number in any unit: relative to its size
    fields, grouped = _by_field(columns, values, [item.name for item in cohort.schema.inputs])
    return Contributions(fields, grouped, base, scale, method, float(error.max()))


def inside(model: Any, cohort: Cohort) -> tuple[Any, Cohort]:
    """The model inside a pipeline with the cohort as it sees it; any other model with the cohort as it is."""
    from bedside.models.pipeline import Pipeline

    if isinstance(model, Pipeline):
        return model.model, model.prepare(cohort)
    return model, cohort


def original(column: str, fields: Sequence[str]) -> str:
    """The field a column was made of (`sex=F` → sex, `age.missing` → age), pair by pair; itself when none is found."""
    if PAIR in column and column not in fields:
        return PAIR.join(sorted({original(part, fields) for part in column.split(PAIR)}))
    if column in fields:
        return column
    made = [name for name in fields if column.startswith(name) and column[len(name) : len(name) + 1] in MARKS]
    return max(made, key=len, default=column)


def _of(inner: Any, seen: Cohort) -> tuple[list[str], NDArray[np.float64], float, Literal["terms", "tree_shap"]] | None:
    if isinstance(inner, HasTerms):
        try:
            return (*inner.terms(seen), "terms")
        except DataError:
            return None
    if isinstance(inner, HasTrees):
        return (*inner.contributions(seen), "tree_shap")
    return None


def _scale(inner: Any, task: Task) -> Scale:
    if not isinstance(task, Classify):
        return "value"
    return "probability" if getattr(inner, "contribution_scale", "link") == "probability" else "log_odds"


def _expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(x), dtype=np.float64)


def _by_field(
    columns: Sequence[str], values: NDArray[np.float64], inputs: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Contributions added up over the columns made of one field (rows, fields)."""
    known = set(inputs)
    origin = [column if column in known else original(column, inputs) for column in columns]
    fields = list(dict.fromkeys(origin))
    index = {name: i for i, name in enumerate(fields)}
    out = np.zeros((len(values), len(fields)))
    for i, name in enumerate(origin):
        out[:, index[name]] += values[:, i]
    return tuple(fields), out
