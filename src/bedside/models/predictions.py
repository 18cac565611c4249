"""Predictions: one row for each row of the cohort, with the columns the task owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.digest import json_digest, table_digest
from bedside.errors import DataError
from bedside.models.task import Classify, Multilabel, Task

OPTIONAL = {"call": pl.String(), "fold": pl.Int64(), "threshold": pl.Float64()}


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table with `row_id`, the task's columns (`p:<class>` for each class summing to 1, `p:<label>` for each label,
    or `value`), and optionally `raw:<column>` (before calibration), `call` (the class decided), `threshold` (used for
    it) and `fold`; with labels `call:<label>` and `threshold:<label>`.

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
        if isinstance(self.task, Multilabel):
            p = self.probabilities
            if p.size and (p.min() < 0 or p.max() > 1):
                raise DataError("the probabilities of labels must lie in [0, 1]")

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def of_probabilities(cls, task: Classify | Multilabel, row_id: pl.Series, p: NDArray[np.float64]) -> Predictions:
        """From an array of shape (rows, classes) in the order of `task.classes`, or (rows, labels)."""
        columns = {name: p[:, i].astype(np.float64) for i, name in enumerate(task.columns)}
        return cls(task, pl.DataFrame({"row_id": row_id, **columns}))

    @classmethod
    def of_labels(cls, task: Multilabel, pieces: Sequence[Predictions]) -> Predictions:
        """From the predictions of each label's own task for the same rows; the inverse of `of_label`."""
        columns: dict[str, pl.Series] = {}
        for label, piece in zip(task.labels, pieces, strict=True):
            name, frame = label.target, piece.frame
            columns[f"p:{name}"] = frame[f"p:{label.classes[1]}"]
            for own, ours in (*_of_one(label), ("fold", "fold")):
                if own in frame.columns:
                    columns[ours] = frame[own]
        return cls(task, pl.DataFrame({"row_id": pieces[0].frame["row_id"], **columns}))

    def of_label(self, name: str) -> Predictions:
        """The predictions of one label as those of its own task of two classes."""
        if not isinstance(self.task, Multilabel):
            raise DataError("these predictions have no labels")
        label = next((each for each in self.task.labels if each.target == name), None)
        if label is None:
            raise DataError(f"no label is called '{name}'", "labels: " + ", ".join(self.task.targets))
        p = self.frame[f"p:{name}"]
        columns: dict[str, pl.Series] = {f"p:{label.classes[0]}": 1.0 - p, f"p:{label.classes[1]}": p}
        if f"raw:p:{name}" in self.frame.columns:
            columns[f"raw:p:{label.classes[0]}"] = 1.0 - self.frame[f"raw:p:{name}"]
        for own, ours in (*_of_one(label), ("fold", "fold")):
            if ours in self.frame.columns:
                columns[own] = self.frame[ours]
        return Predictions(label, pl.DataFrame({"row_id": self.frame["row_id"], **columns}))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Class probabilities, shape (rows, classes); of labels (rows, labels), which need not sum to 1."""
        return self.frame.select(list(self.task.columns)).to_numpy()

    @property
    def score(self) -> NDArray[np.float64]:
        """Probability of the positive (last) class, or the predicted value, shape (rows,); labels have one each."""
        if isinstance(self.task, Multilabel):
            raise DataError("each label has a score of its own", "ask `of_label` first")
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
            raise DataError("only classes are called", "a number has no call; ask `of_label` for a label's")
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


def _of_one(label: Classify) -> tuple[tuple[str, str], ...]:
    """Optional columns of a label's own predictions, and what they are called beside other labels."""
    name = label.target
    return (
        (f"raw:p:{label.classes[1]}", f"raw:p:{name}"),
        ("call", f"call:{name}"),
        ("threshold", f"threshold:{name}"),
    )


def concat(pieces: list[Predictions]) -> Predictions:
    """Predictions of several folds, one under the other."""
    return Predictions(pieces[0].task, pl.concat([piece.frame for piece in pieces]))
