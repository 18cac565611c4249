"""A model in one file: an early warning score, and the risk that goes with each count."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json
from bedside.cohort.run import Run
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, task_from_json


class WarningScore:
    """Counts the fields outside their limits, `{field: [low, high]}` in the units of the data; missing is normal.

    The risk at a count is the share of each class in train at that count, one row of the overall shares added.
    """

    name: ClassVar[str] = "warning_score"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    modality: ClassVar[str] = "tabular"
    extra: ClassVar[str | None] = None
    default_steps: ClassVar[tuple[object, ...]] = ()
    interpretable: ClassVar[bool] = True
    keeps_rows: ClassVar[bool] = False
    summary: ClassVar[tuple[str, str]] = ("early warning score: how many values are out of limits", "早期预警评分")

    def __init__(self, limits: dict[str, list[float]]) -> None:
        self.limits = limits

    def count(self, cohort: Cohort) -> np.ndarray:
        """How many fields are out of limits, shape (rows,)."""
        out = [~cohort[name].is_between(low, high).fill_null(True) for name, (low, high) in self.limits.items()]
        return np.sum([column.to_numpy() for column in out], axis=0, dtype=np.int64)

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Classify, run: Run) -> Self:
        truth, count = task.truth(train), self.count(train)
        seen = np.zeros((len(self.limits) + 1, len(task.classes)))
        np.add.at(seen, (count[truth >= 0], truth[truth >= 0]), 1.0)
        seen += seen.sum(axis=0) / seen.sum()
        self.task_, self.shares_ = task, seen / seen.sum(axis=1, keepdims=True)
        return self

    def predict(self, cohort: Cohort, *, out: object = None) -> Predictions:
        return Predictions.of_probabilities(self.task_, cohort["row_id"], self.shares_[self.count(cohort)])

    def save(self, folder: Path) -> None:
        state = {"limits": self.limits, "task": self.task_.to_json(), "shares": self.shares_.tolist()}
        (folder / "model.json").write_bytes(canonical_json(state))

    @classmethod
    def load(cls, folder: Path) -> Self:
        state = json.loads((folder / "model.json").read_bytes())
        model = cls(state["limits"])
        model.task_, model.shares_ = task_from_json(state["task"]), np.array(state["shares"])
        return model
