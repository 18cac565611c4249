"""From a cohort to the matrix that scikit-learn-style estimators take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.models.rows import ClassWeight as ClassWeight
from bedside.models.rows import in_row_order as in_row_order
from bedside.models.rows import target as target
from bedside.models.rows import weights as weights


def input_fields(cohort: Cohort, who: str) -> list[Field]:
    """The input fields, all numbers or booleans; raises DataError naming the field that is neither."""
    fields = cohort.schema.inputs
    if not fields:
        raise DataError(f"'{who}' has no input field", "give at least one field the role input")
    for item in fields:
        if item.kind not in ("number", "boolean"):
            way_out = {
                "category": "add the step encode",
                "ordinal": "add the step encode",
            }.get(item.kind, "take the role input away from it, or add a step that makes numbers of it")
            raise DataError(f"field '{item.name}' is a {item.kind}, and '{who}' takes numbers and booleans", way_out)
    return fields


def matrix(cohort: Cohort, fields: Sequence[Field], who: str, *, takes_missing: bool) -> NDArray[np.float64]:
    """The fields as numbers, shape (rows, fields): booleans are 0 and 1, missing is NaN.

    Raises DataError naming the field that is absent, of another kind, infinite, or missing where `takes_missing` is
    False.
    """
    for item in fields:
        if item.name not in cohort.schema:
            raise DataError(f"field '{item.name}' is missing, and '{who}' learnt from it", "give all input fields")
        kind = cohort.schema[item.name].kind
        if kind != item.kind:
            raise DataError(f"field '{item.name}' is a {kind}, and '{who}' learnt it as a {item.kind}")
    columns = [pl.col(item.name).cast(pl.Float64) for item in fields]
    x = np.ascontiguousarray(cohort.frame.select(columns).to_numpy(), dtype=np.float64)
    if x.size and np.isinf(x).any():
        name = fields[int(np.isinf(x).any(axis=0).argmax())].name
        raise DataError(f"field '{name}' holds infinite values", "correct them, or mark them as missing")
    if not takes_missing and x.size and np.isnan(x).any():
        counts = np.isnan(x).sum(axis=0)
        worst = int(counts.argmax())
        raise DataError(
            f"field '{fields[worst].name}' has {counts[worst]} missing values, and '{who}' takes none",
            "add the step impute",
        )
    return x


def parameters_error(who: str, error: Exception) -> PlanError:
    """What a library said about a parameter's value, as an error of the plan."""
    return PlanError(f"'{who}': {str(error).splitlines()[0]}", f"see `bedside models {who}`")


def json_fields(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """Name and kind of each field, as JSON."""
    return [{"name": item.name, "kind": item.kind} for item in fields]
