"""Predictions: one row for each row of the cohort, with the columns the task owns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.digest import json_digest, table_digest
from bedside.errors import DataError
from bedside.models.task import Classify, Task

OPTIONAL = {"call": pl.String(), "fold": pl.Int64(), "threshold": pl.Float64()}


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table with `row_id`, the task's columns (`p:<class>` for each class summing to 1, or `value`), and optionally
    `raw:<column>` (before calibration), `call` (the class decided), `threshold` (used for it) and `fold`.

    Raises DataError when a column is missing, mistyped, not finite, or probabilities leave [0, 1] or do not sum to 1.
    """

    task: Task
    frame: pl.DataFrame

    def __post_init__(self) -> None:
        wanted = {"row_id": pl.String(), **self.task.columns}
        for name, dtype in wanted.items():
            if name not in self.frame.columns:
                raise DataError(f"predictions lack the column '{name}'")
            if self.frame.schema[name] != dtype:
                raise DataError(f"prediction column '{name}' is {self.frame.schema[name]}, not {dtype}")
        for name in self.task.columns:
            if self.frame[name].null_count() or not self.frame[name].is_finite().all():
                raise DataError(f"prediction column '{name}' has values that are missing or not finite")
        if isinstance(self.task, Classify):
            p = self.probabilities
            if p.size and (p.min() < 0 or p.max() > 1 or np.abs(p.sum(axis=1) - 1).max() > 1e-6):
                raise DataError("class probabilities must lie in [0, 1] and sum to 1")

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def of_probabilities(cls, task: Classify, row_id: pl.Series, p: NDArray[np.float64]) -> Predictions:
        """From an array of shape (rows, classes) in the order of `task.classes`."""
        columns = {f"p:{label}": p[:, i].astype(np.float64) for i, label in enumerate(task.classes)}
        return cls(task, pl.DataFrame({"row_id": row_id, **columns}))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Class probabilities, shape (rows, classes)."""
        return self.frame.select(list(self.task.columns)).to_numpy()

    @property
    def score(self) -> NDArray[np.float64]:
        """Probability of the positive (last) class, or the predicted value, shape (rows,)."""
        return self.frame[list(self.task.columns)[-1]].to_numpy()

    @property
    def raw_score(self) -> NDArray[np.float64]:
        """The score before calibration, or the score itself when nothing was calibrated, shape (rows,)."""
        name = f"raw:{list(self.task.columns)[-1]}"
        return self.frame[name].to_numpy() if name in self.frame.columns else self.score

    @property
    def calls(self) -> NDArray[np.int64]:
        """Index of the class decided: `call` where there is one, else the likeliest, shape (rows,)."""
        if not isinstance(self.task, Classify):
            raise DataError("a number is predicted, so there is no call")
        if "call" in self.frame.columns:
            index = {label: i for i, label in enumerate(self.task.classes)}
            return self.frame["call"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return likeliest

    def with_columns(self, **columns: pl.Series | NDArray[np.float64]) -> Predictions:
        """The same predictions with columns added or replaced."""
        frame = self.frame.with_columns([pl.Series(name, values) for name, values in columns.items()])
        return replace(self, frame=frame)

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """The rows at these positions."""
        return replace(self, frame=self.frame[rows])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the task and the table."""
        return json_digest({"format": 1, "task": self.task.to_json(), "table": table_digest(self.frame)})


def concat(pieces: list[Predictions]) -> Predictions:
    """Predictions of several folds, one under the other."""
    return Predictions(pieces[0].task, pl.concat([piece.frame for piece in pieces]))
