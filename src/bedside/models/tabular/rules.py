"""Rule sets: what clinicians wrote down, with the event rate of each conclusion learnt from the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError, PlanError
from bedside.models.predictions import Predictions
from bedside.models.saved import SavedModel, not_fitted
from bedside.models.tabular.estimator import values
from bedside.models.tabular.grammar import Condition, first_true
from bedside.models.tabular.matrix import in_row_order, target, weights
from bedside.models.task import Classify, Task, task_from_json

if TYPE_CHECKING:
    from bedside.cohort.store import Store


@dataclass(eq=False)
class Rules(SavedModel):
    """The first rule whose condition holds names the row's group; a row that none fits is in `otherwise`.

    `rules` is a list of {if: condition, then: group}; several may lead to one group. A group's prediction is its class
    frequencies (or mean) in training, drawn to the whole's by `smoothing` rows' worth. Conditions: grammar.py.
    """

    name: ClassVar[str] = "rules"
    main: ClassVar[str] = "rules"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    modality: ClassVar[str] = "tabular"
    extra: ClassVar[str | None] = None
    default_steps: ClassVar[tuple[Any, ...]] = ()
    interpretable: ClassVar[bool] = True
    keeps_rows: ClassVar[bool] = False
    summary: ClassVar[tuple[str, str]] = (
        "If–then rules written by people, with each conclusion's event rate learnt",
        "由人编写的“如果—那么”规则，各结论的事件率由数据学习",
    )

    rules: Sequence[Mapping[str, str]] = ()
    otherwise: str = "otherwise"
    smoothing: float = 1.0

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn each group's level; raises PlanError for a rule that cannot be read."""
        if task.kind not in self.tasks:
            raise PlanError(f"'rules' does not {task.kind}")
        train = in_row_order(train)
        self.task_ = task
        self._parse(train.schema)
        y = target(train, task, self.name)
        w = weights(train, task, y, None)
        w = np.ones(len(y)) if w is None else w
        shares = np.eye(len(task.classes))[y] if isinstance(task, Classify) else y[:, None]
        whole = np.average(shares, axis=0, weights=w)
        group = self._group_index(train)
        sums = np.array([w[group == g] @ shares[group == g] for g in range(len(self.groups_))])
        n = np.array([w[group == g].sum() for g in range(len(self.groups_))])
        if self.smoothing <= 0 and (n == 0).any():
            empty = self.groups_[int((n == 0).argmax())]
            raise DataError(f"no training row falls into the group '{empty}'", "give smoothing above 0")
        self.levels_ = (sums + self.smoothing * whole) / (n + self.smoothing)[:, None]
        self.rows_ = [int((group == g).sum()) for g in range(len(self.groups_))]
        return self

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """Each row's group level; raises DataError for a field that a rule needs and the cohort lacks."""
        if not hasattr(self, "levels_"):
            raise not_fitted(self.name)
        found = self.levels_[self._group_index(cohort)]
        if isinstance(self.task_, Classify):
            return Predictions.of_probabilities(self.task_, cohort.frame["row_id"], found)
        return values(self.task_, cohort.frame["row_id"], found[:, 0])

    def groups(self, cohort: Cohort) -> list[str]:
        """The conclusion reached for each row."""
        return [self.groups_[i] for i in self._group_index(cohort)]

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Task, the fields read, and each group's level and number of training rows."""
        if not hasattr(self, "levels_"):
            raise not_fitted(self.name)
        return {
            "task": self.task_.to_json(),
            "fields": [item.to_json() for item in self.fields_],
            "groups": self.groups_,
            "levels": self.levels_.tolist(),
            "rows": self.rows_,
        }, {}

    def restore(self, state: dict[str, Any], files: dict[str, bytes]) -> None:
        """The inverse of `state`."""
        self.task_ = task_from_json(state["task"])
        self._parse(Schema(tuple(Field.from_json(item) for item in state["fields"])))
        self.levels_ = np.array(state["levels"], dtype=np.float64)
        self.rows_ = [int(n) for n in state["rows"]]

    def _parse(self, schema: Schema) -> None:
        if not self.rules:
            raise PlanError("'rules' has no rules", "give [{if: condition, then: group}, …]")
        for rule in self.rules:
            if not isinstance(rule, Mapping) or set(rule) != {"if", "then"}:
                raise PlanError(f"rule {rule!r} is not {{if: condition, then: group}}")
        self._conditions = [Condition(str(rule["if"]), schema) for rule in self.rules]
        read = {name for condition in self._conditions for name in condition.fields}
        self.fields_ = [item for item in schema.fields if item.name in read]
        self.groups_ = list(dict.fromkeys([*(str(rule["then"]) for rule in self.rules), self.otherwise]))
        self._group_of = np.array([self.groups_.index(str(rule["then"])) for rule in self.rules] + [-1])
        self._group_of[-1] = self.groups_.index(self.otherwise)

    def _group_index(self, cohort: Cohort) -> NDArray[np.int64]:
        for item in self.fields_:
            if cohort.schema[item.name].kind != item.kind:
                raise DataError(f"field '{item.name}' is a {cohort.schema[item.name].kind}, not a {item.kind}")
        first = cohort.frame.select(first_true(self._conditions))["rule"].to_numpy()
        found: NDArray[np.int64] = self._group_of[first].astype(np.int64)
        return found
