"""Fill missing values by what the training part showed, and say where they were missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import PlanError
from bedside.evidence.estimate import Finding
from bedside.prepare.steps.base import FittedStep, check_choice, chosen, observed, rebuilt
from bedside.prepare.steps.chained import fit_chained, replay_chained

_KINDS = ("number", "category", "ordinal", "boolean")


@dataclass
class Impute(FittedStep):
    """Missing inputs filled: numbers by `how` (median, mean, mode, constant, iterative), other kinds by the mode.

    `constant` fills `value` into fields of its kind. `indicators` adds `<name>.missing` (0/1) for each field with
    missing values in train. A field wholly missing in train is filled with 0 (text: "missing"), with a caution.
    `iterative` is `rounds` of chained ridge regressions over the number fields; see `chained`.
    """

    how: str = "median"
    fields: Sequence[str] | None = None
    indicators: bool = True
    value: float | str | bool | None = None
    rounds: int = 10
    ridge: float = 1.0

    name: ClassVar[str] = "impute"
    main: ClassVar[str] = "how"

    def __post_init__(self) -> None:
        check_choice(self.name, "how", self.how, ("median", "mean", "mode", "constant", "iterative"))
        if (self.how == "constant") != (self.value is not None):
            raise PlanError(
                f"step 'impute': how is {self.how!r} and value {self.value!r}", "constant, and only it, takes a value"
            )

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn the fill of each field, which fields had missing values, and (iterative) the regressions."""
        items = chosen(train, _KINDS, self.fields)
        fill: dict[str, Any] = {}
        for item, values in observed(train, [item for item in items if item.kind == "number"]):
            fill[item.name] = self._number(values)
        for item in items:
            if item.kind != "number":
                fill[item.name] = self._other(train.frame[item.name], item.kind)
        names = [item.name for item in items]
        nulls = train.frame.select(names).null_count().row(0) if names else ()
        missing = [name for name, count in zip(names, nulls, strict=True) if count > 0]
        empty = [name for name, count in zip(names, nulls, strict=True) if count == len(train)]
        self.state_ = {"fill": fill, "missing": missing, "empty": empty, "chained": []}
        if self.how == "iterative":
            numbers = [item.name for item in items if item.kind == "number" and item.name not in empty]
            chain = fit_chained(_matrix(train, numbers), rounds=self.rounds, ridge=self.ridge)
            self.state_ |= {"chained": numbers, **chain}
        return self

    def _number(self, values: NDArray[np.float64]) -> float:
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return float(self.value)
        if len(values) == 0:
            return 0.0
        if self.how == "median":
            return float(np.median(values))
        if self.how in ("mean", "iterative"):
            return float(np.mean(values))
        unique, counts = np.unique(values, return_counts=True)
        return float(unique[np.argmax(counts)])

    def _other(self, column: pl.Series, kind: str) -> str | bool:
        if isinstance(self.value, bool if kind == "boolean" else str):
            return self.value
        counts: list[tuple[str | bool, int]] = column.drop_nulls().value_counts().rows()
        if not counts:
            return False if kind == "boolean" else "missing"
        return min(counts, key=lambda pair: (-pair[1], pair[0]))[0]

    def findings(self) -> tuple[Finding, ...]:
        """A caution for each field wholly missing in train."""
        return tuple(Finding("all_missing_in_train", "caution", {"field": name}) for name in self.state["empty"])

    def apply(self, cohort: Cohort) -> Cohort:
        """The filled cohort, indicator fields beside their field."""
        state = self.state
        self.require(cohort, state["fill"])
        if state["chained"]:
            filled = replay_chained(_matrix(cohort, state["chained"]), state)
            columns = {name: pl.Series(name, filled[:, j]) for j, name in enumerate(state["chained"])}
        else:
            columns = {}
        indicated = set(state["missing"]) if self.indicators else set()
        changed = {}
        for name, value in state["fill"].items():
            full = pl.lit(columns[name]) if name in columns else pl.col(name).fill_null(value)
            changed[name] = [(cohort.schema[name], full)]
            if name in indicated:
                indicator = Field(f"{name}.missing", "number", low=0.0, high=1.0)
                changed[name].append((indicator, pl.col(name).is_null().cast(pl.Float64)))
        return rebuilt(cohort, changed)


def _matrix(cohort: Cohort, names: Sequence[str]) -> NDArray[np.float64]:
    """Number fields as an array of shape (rows, fields) with NaN where missing."""
    if not names:
        return np.empty((len(cohort), 0))
    return np.column_stack([cohort.frame[name].fill_null(float("nan")).to_numpy() for name in names])
