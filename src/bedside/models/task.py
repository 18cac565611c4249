"""Task: what is predicted. Each task owns one Predictions schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError

Risk = Literal["low", "medium", "high"]
ROWS_A_CLASS = 5  # at least, on average, for classes to be named in an error


def labels(column: pl.Series) -> pl.Series:
    """Class labels as text: booleans "false"/"true", whole numbers without a decimal point, categories as they are."""
    if column.dtype == pl.Float64:
        whole = column.drop_nulls()
        if not (whole == whole.round(0)).all():
            raise DataError(f"'{column.name}' holds fractions, so it is no class label", "use task: {regress: …}")
        column = column.cast(pl.Int64)
    return column.cast(pl.String)


@dataclass(frozen=True)
class Classify:
    """Predict a class. With two classes `positive` is the event; `classes` are sorted labels, positive last.

    `costs` are {"false_negative": c, "false_positive": c} per case, in any one unit.
    """

    target: str
    classes: tuple[str, ...]
    positive: str | None = None
    risk: Risk = "high"
    costs: Mapping[str, float] | None = None
    kind: Literal["classify"] = "classify"

    @classmethod
    def of(
        cls,
        cohort: Cohort,
        target: str,
        positive: str | None = None,
        *,
        risk: Risk = "high",
        costs: Mapping[str, float] | None = None,
    ) -> Classify:
        """The task with its classes read from a cohort; raises DataError for one class or an unknown positive."""
        column = labels(cohort[target]).drop_nulls()
        found = sorted(column.unique().to_list())
        # An error must not name patients, which a wrong column may hold: classes are told where rows share them.
        told = f": {', '.join(found)}" if len(column) >= ROWS_A_CLASS * len(found) else f" ({len(found)} values)"
        if len(found) < 2:
            raise DataError(f"target '{target}' holds one class only{told}", "a classifier needs at least two")
        if len(found) > 100:
            raise DataError(f"target '{target}' holds {len(found)} classes", "is it a number? use task: {regress: …}")
        if positive is None and len(found) == 2:
            positive = found[1]
        if positive is not None:
            if positive not in found:
                raise DataError(
                    f"positive class '{positive}' is not a value of '{target}'{told}", "write it as it is in the data"
                )
            found = [label for label in found if label != positive] + [positive]
        return cls(target, tuple(found), positive if len(found) == 2 else None, risk, costs)

    @property
    def binary(self) -> bool:
        """Whether there are two classes."""
        return len(self.classes) == 2

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The prediction columns: a probability for each class."""
        return {f"p:{label}": pl.Float64() for label in self.classes}

    def truth(self, cohort: Cohort) -> NDArray[np.int64]:
        """Class index of each row, shape (rows,); −1 where the target is missing or an unknown class."""
        index = {label: i for i, label in enumerate(self.classes)}
        codes = labels(cohort[self.target]).replace_strict(index, default=-1, return_dtype=pl.Int64)
        return codes.fill_null(-1).to_numpy()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        costs = None if self.costs is None else dict(self.costs)
        return {
            "kind": self.kind,
            "target": self.target,
            "classes": list(self.classes),
            "positive": self.positive,
            "risk": self.risk,
            "costs": costs,
        }


@dataclass(frozen=True)
class Regress:
    """Predict a number, in the unit of the target field."""

    target: str
    unit: str | None = None
    risk: Risk = "high"
    kind: Literal["regress"] = "regress"

    @classmethod
    def of(cls, cohort: Cohort, target: str, *, risk: Risk = "high") -> Regress:
        """The task with its unit read from a cohort; raises DataError when the target is no number or constant."""
        item = cohort.schema[target]
        if item.kind != "number":
            raise DataError(f"target '{target}' is a {item.kind}, not a number", "use task: {classify: …}")
        if cohort[target].drop_nulls().n_unique() < 2:
            raise DataError(f"target '{target}' is constant", "there is nothing to predict")
        return cls(target, item.unit, risk)

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The prediction column: `value`."""
        return {"value": pl.Float64()}

    def truth(self, cohort: Cohort) -> NDArray[np.float64]:
        """The target of each row, shape (rows,); NaN where missing."""
        return cohort[self.target].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"kind": self.kind, "target": self.target, "unit": self.unit, "risk": self.risk}


Task = Classify | Regress


def task_from_json(data: Mapping[str, Any]) -> Task:
    """The inverse of `to_json` of any task."""
    values = {key: value for key, value in data.items() if key != "kind"}
    if data["kind"] == "classify":
        return Classify(**{**values, "classes": tuple(values["classes"])})
    if data["kind"] == "regress":
        return Regress(**values)
    raise DataError(f"unknown task kind '{data['kind']}'", "classify or regress")
