"""The rows that a check may count: predictions beside their known truth, subject and weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort, first_appearance
from bedside.errors import DataError
from bedside.evidence.estimate import Finding
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, Multilabel, Task

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

ORIGINAL = (
    "original"  # the reference that is no baseline: a compressed model's own predictions before it was compressed
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows whose target is known, each array of shape (rows,).

    `positions` index the predictions; `truth` is a class index or a number; `score` the probability of the
    last class or the value predicted; `subjects` are codes in order of first appearance; `weights` is None where no
    field has that role.
    """

    positions: Ints
    truth: NDArray[np.int64] | Floats
    score: Floats
    subjects: Ints
    weights: Floats | None
    n_unknown: int

    @property
    def event(self) -> Bools:
        """Whether the positive (second) class is true; for a task of two classes."""
        return np.asarray(self.truth == 1)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What has to be said of rows left out."""
        if self.n_unknown == 0:
            return ()
        return (Finding("rows_without_truth", "caution", {"n": self.n_unknown, "rows": self.n_unknown + len(self)}),)

    def __len__(self) -> int:
        return len(self.positions)

    def of(self, values: NDArray[Number]) -> NDArray[Number]:
        """Values of every prediction cut to these rows."""
        return np.asarray(values[self.positions])

    def take(self, chosen: Bools) -> Rows:
        """The rows chosen by a mask of shape (rows,)."""
        weights = None if self.weights is None else self.weights[chosen]
        return replace(
            self,
            positions=self.positions[chosen],
            truth=self.truth[chosen],
            score=self.score[chosen],
            subjects=self.subjects[chosen],
            weights=weights,
        )

    def counts(self, chosen: Bools | None = None) -> dict[str, Any]:
        """n_rows and n_subjects of the rows chosen (all without a mask)."""
        subjects = self.subjects if chosen is None else self.subjects[chosen]
        return {"n_rows": len(subjects), "n_subjects": distinct(subjects)}


def distinct(codes: Ints) -> int:
    """How many different codes (≥ 0) there are."""
    return int(np.count_nonzero(np.bincount(codes)))


def known_rows(predictions: Predictions, cohort: Cohort, task: Task) -> Rows:
    """The rows with a known target. Raises DataError when predictions and cohort differ in rows, or none is known."""
    _refuse_other_rows(predictions, cohort)
    if isinstance(task, Multilabel):
        raise DataError("these predictions are of several labels", "ask each of them by `of_label`")
    truth = task.truth(cohort)
    known = truth >= 0 if isinstance(task, Classify) else np.isfinite(truth)
    positions = np.flatnonzero(known)
    if len(positions) == 0:
        raise DataError(f"no row has a known value of '{task.target}'", "give the truth of at least some rows")
    return Rows(
        positions=positions,
        truth=truth[positions],
        score=predictions.score[positions],
        subjects=first_appearance(cohort["subject"][positions]),
        weights=_weights(cohort, positions),
        n_unknown=len(cohort) - len(positions),
    )


def _refuse_other_rows(predictions: Predictions, cohort: Cohort) -> None:
    if len(predictions) != len(cohort) or not predictions.frame["row_id"].equals(cohort["row_id"]):
        raise DataError(
            f"predictions ({len(predictions)} rows) and cohort '{cohort.schema.name}' ({len(cohort)} rows) "
            "do not hold the same rows in the same order",
            "join them on row_id first",
        )


def _weights(cohort: Cohort, positions: Ints) -> Floats | None:
    weight = cohort.schema.one("weight")
    return None if weight is None else cohort[weight.name].fill_null(0.0).to_numpy()[positions]


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Rows that know some label: `truth` (rows, labels) is 1, 0 or −1 (unknown), the rest as in `Rows`."""

    positions: Ints
    truth: Ints
    subjects: Ints
    weights: Floats | None

    @property
    def counts(self) -> dict[str, int]:
        """n_rows and n_subjects."""
        return {"n_rows": len(self.positions), "n_subjects": distinct(self.subjects)}


def known_labels(predictions: Predictions, cohort: Cohort, task: Multilabel) -> LabelRows:
    """The rows that know some label. Raises DataError when predictions and cohort differ in rows, or none does."""
    _refuse_other_rows(predictions, cohort)
    truth = task.truth(cohort)
    positions = np.flatnonzero((truth >= 0).any(axis=1))
    if len(positions) == 0:
        raise DataError(f"no row knows any of {list(task.targets)}", "give the truth of at least some rows")
    subjects = first_appearance(cohort["subject"][positions])
    return LabelRows(positions, truth[positions], subjects, _weights(cohort, positions))


def same_rows(predictions: Predictions, reference: dict[str, Predictions] | None) -> dict[str, Predictions]:
    """The baselines by name. Raises DataError when one holds other rows than the predictions, or another order."""
    for name, other in (reference or {}).items():
        if not other.frame["row_id"].equals(predictions.frame["row_id"]):
            raise DataError(
                f"baseline '{name}' ({len(other)} rows) and the predictions ({len(predictions)} rows) do not hold the "
                "same rows in the same order",
                "join them on row_id first",
            )
    return dict(sorted((reference or {}).items()))
