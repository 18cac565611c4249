"""Task: what is predicted. Each task owns one Predictions schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    def targets(self) -> tuple[str, ...]:
        """The target field."""
        return (self.target,)

    @property
    def strata(self) -> str:
        """The field that a split is balanced by."""
        return self.target

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
    def targets(self) -> tuple[str, ...]:
        """The target field."""
        return (self.target,)

    @property
    def strata(self) -> str:
        """The field that a split is balanced by."""
        return self.target

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


@dataclass(frozen=True)
class Multilabel:
    """Predict of each of several labels whether it applies to a row; any number of them may.

    Each label is a task of two classes with a target field of its own, by whose name it is called. A label may be
    unknown in a row: the row then counts for the others only.
    """

    labels: tuple[Classify, ...]
    risk: Risk = "high"
    kind: Literal["multilabel"] = "multilabel"

    @classmethod
    def of(
        cls,
        cohort: Cohort,
        targets: Sequence[str],
        positive: str | Mapping[str, str] | None = None,
        *,
        risk: Risk = "high",
        costs: Mapping[str, float] | None = None,
    ) -> Multilabel:
        """The task with each label's classes read from a cohort; `positive` is one for all, or by label.

        Raises DataError for fewer than two labels, and for a label that does not hold two values.
        """
        names = list(targets)
        if len(names) < 2 or len(set(names)) < len(names):
            raise DataError(f"{names} are not two or more different labels", "name one field alone to classify by it")
        tasks = []
        for name in names:
            event = positive.get(name) if isinstance(positive, Mapping) else positive
            task = Classify.of(cohort, name, event, risk=risk, costs=costs)
            if not task.binary:
                raise DataError(
                    f"label '{name}' holds {len(task.classes)} classes, and a label applies or does not",
                    f"make it a field of two values, or classify by '{name}' alone",
                )
            tasks.append(task)
        return cls(tuple(tasks), risk)

    @property
    def targets(self) -> tuple[str, ...]:
        """The target fields, which are the labels' names."""
        return tuple(task.target for task in self.labels)

    @property
    def strata(self) -> list[str]:
        """The fields whose combinations a split is balanced by."""
        return list(self.targets)

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The prediction columns: for each label the probability that it applies."""
        return {f"p:{name}": pl.Float64() for name in self.targets}

    def truth(self, cohort: Cohort) -> NDArray[np.int64]:
        """1 where a label applies, 0 where not, −1 where that is unknown, shape (rows, labels)."""
        return np.column_stack([task.truth(cohort) for task in self.labels])

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"kind": self.kind, "labels": [task.to_json() for task in self.labels], "risk": self.risk}


Task = Classify | Regress | Multilabel


def task_from_json(data: Mapping[str, Any]) -> Task:
    """The inverse of `to_json` of any task."""
    values = {key: value for key, value in data.items() if key != "kind"}
    if data["kind"] == "classify":
        return Classify(**{**values, "classes": tuple(values["classes"])})
    if data["kind"] == "regress":
        return Regress(**values)
    if data["kind"] == "multilabel":
        labels = tuple(task for each in values["labels"] if isinstance(task := task_from_json(each), Classify))
        return Multilabel(labels, values["risk"])
    raise DataError(f"unknown task kind '{data['kind']}'", "classify, multilabel or regress")
