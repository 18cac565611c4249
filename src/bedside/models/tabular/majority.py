"""The model that looks at nothing: what any other must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import PlanError
from bedside.models.predictions import Predictions
from bedside.models.saved import SavedModel, not_fitted
from bedside.models.tabular.estimator import values
from bedside.models.tabular.matrix import in_row_order, target, weights
from bedside.models.task import Classify, Task, task_from_json

if TYPE_CHECKING:
    from bedside.cohort.store import Store


@dataclass(eq=False)
class Majority(SavedModel):
    """Predicts every row the same: the weighted class frequencies, or the mean, of the training part."""

    name: ClassVar[str] = "majority"
    default_calibration: ClassVar[Any] = "none"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    modality: ClassVar[str] = "tabular"
    extra: ClassVar[str | None] = None
    default_steps: ClassVar[tuple[Any, ...]] = ()
    interpretable: ClassVar[bool] = True
    keeps_rows: ClassVar[bool] = False
    summary: ClassVar[tuple[str, str]] = (
        "The event rate (or mean) for everyone: the floor any model must beat",
        "对所有人给出事件率（或均值）：任何模型都须超过的底线",
    )

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn the frequencies or the mean; raises DataError for a single class."""
        if task.kind not in self.tasks:
            raise PlanError(f"'majority' does not {task.kind}")
        train = in_row_order(train)
        y = target(train, task, self.name)
        w = weights(train, task, y, None)
        w = np.ones(len(y)) if w is None else w
        self.task_ = task
        if isinstance(task, Classify):
            counts = np.bincount(y.astype(np.int64), weights=w, minlength=len(task.classes))
            self.level_ = counts / counts.sum()
        else:
            self.level_ = np.array([np.average(y, weights=w)])
        return self

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """The same prediction for every row."""
        if not hasattr(self, "level_"):
            raise not_fitted(self.name)
        p = np.tile(self.level_, (len(cohort), 1))
        if isinstance(self.task_, Classify):
            return Predictions.of_probabilities(self.task_, cohort.frame["row_id"], p)
        return values(self.task_, cohort.frame["row_id"], p[:, 0])

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The task and the level."""
        if not hasattr(self, "level_"):
            raise not_fitted(self.name)
        return {"task": self.task_.to_json(), "level": self.level_.tolist()}, {}

    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`."""
        self.task_ = task_from_json(state["task"])
        self.level_ = np.array(state["level"], dtype=np.float64)
