"""Several labels by a model of two classes: one fit a label, on the rows where that label is known."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Finding
from bedside.models.digest import check_files, file_digests, read_listing, write_listing
from bedside.models.predictions import Predictions
from bedside.models.protocol import Exports
from bedside.models.rows import target
from bedside.models.saved import not_fitted
from bedside.models.task import Multilabel, Task, task_from_json

if TYPE_CHECKING:
    from bedside.cohort.store import Store

LISTING = "labels.json"


def for_task(unfitted: Any, task: Task) -> Any:
    """The model itself where it can do the task, else, for several labels, one of it for each."""
    if isinstance(task, Multilabel) and task.kind not in unfitted.tasks and "classify" in unfitted.tasks:
        return PerLabel(unfitted)
    return unfitted


def load(kind: Any, folder: Path) -> Any:
    """What `save` of the model that `for_task` gave has written."""
    return PerLabel.load_with(kind, folder) if (folder / LISTING).is_file() else kind.load(folder)


def served(model: Any) -> Any:
    """The serving form of a network, of several labels each one's; the model itself where it is no network."""
    if isinstance(model, Exports):
        return model.export()
    if not isinstance(model, PerLabel) or not all(isinstance(each, Exports) for each in model.models_.values()):
        return model
    exported = {name: each.export() for name, each in model.models_.items()}
    made = PerLabel(next(iter(exported.values())))
    made.task_, made.models_ = model.task, exported
    return made


class PerLabel:
    """A model of several labels that holds one model of two classes for each; it goes by their name."""

    def __init__(self, unfitted: Any) -> None:
        self.unfitted = unfitted
        self.name = unfitted.name
        self.keeps_rows = unfitted.keeps_rows
        self.task_: Multilabel | None = None
        self.models_: dict[str, Any] = {}

    def parameters(self) -> dict[str, Any]:
        """The arguments of each label's model, as JSON."""
        return dict(self.unfitted.parameters()) if hasattr(self.unfitted, "parameters") else {}

    def fit(self, train: Cohort, tune: Cohort | None, *, task: Task, run: Run) -> Self:
        """Learn each label; raises DataError naming the label that has one class only."""
        if not isinstance(task, Multilabel):
            raise PlanError(f"'{self.name}' does not {task.kind} label by label")
        target(train, task, self.name)
        models = {}
        for label in task.labels:
            aside = None if tune is None else _known(tune, label)
            model = copy.deepcopy(self.unfitted)
            models[label.target] = model.fit(_known(train, label), aside, task=label, run=run)
        self.task_, self.models_ = task, models
        return self

    def predict(self, cohort: Cohort, *, out: Store | None = None) -> Predictions:
        """The probability of every label, one row each, in row order."""
        return Predictions.of_labels(self.task, [each.predict(cohort, out=out) for each in self.models_.values()])

    def of_label(self, name: str) -> Any:
        """The model of one label; raises DataError for an unknown one."""
        if name not in self.models_:
            raise DataError(f"no label is called '{name}'", "labels: " + ", ".join(self.models_))
        return self.models_[name]

    def findings(self) -> tuple[Finding, ...]:
        """What went less than well, label by label."""
        return tuple(
            replace(item, values={**item.values, "label": name})
            for name, model in self.models_.items()
            if hasattr(model, "findings")
            for item in model.findings()
        )

    @property
    def task(self) -> Multilabel:
        """What it predicts; raises BedsideError before fit."""
        if self.task_ is None:
            raise not_fitted(self.name)
        return self.task_

    def save(self, folder: Path) -> None:
        """Write labels.json and a folder for each label, by number, into an existing empty folder."""
        content = {"name": self.name, "task": self.task.to_json()}
        for i, model in enumerate(self.models_.values()):
            (folder / str(i)).mkdir()
            model.save(folder / str(i))
        write_listing(folder / LISTING, {**content, "files": file_digests(folder)}, self.name)

    @classmethod
    def load_with(cls, kind: Any, folder: Path) -> PerLabel:
        """The inverse of `save`, given the class of the labels' models; raises IntegrityError for what was changed."""
        listing = read_listing(folder / LISTING)
        check_files(folder, listing["files"], LISTING)
        task = task_from_json(listing["task"])
        if not isinstance(task, Multilabel):
            raise DataError(f"{LISTING} is of a task that has no labels")
        models = {label.target: kind.load(folder / str(i)) for i, label in enumerate(task.labels)}
        made = cls(next(iter(models.values())))
        made.task_, made.models_ = task, models
        return made


def _known(cohort: Cohort, label: Any) -> Cohort:
    """The rows whose value of a label is known."""
    rows = np.flatnonzero(label.truth(cohort) >= 0)
    return cohort if len(rows) == len(cohort) else cohort.take(rows)
