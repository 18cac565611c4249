"""The Action protocol: work that a plan names beyond its checks, done after predicting and before the gates."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.evidence.estimate import Evidence
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Task


@runtime_checkable
class Action(Protocol):
    """Something done with test predictions and model that leaves evidence, and files if it likes. Entry point
    `bedside.actions`; `__init__(**parameters)` only stores its parameters.

    It is pure: the same inputs, parameters and `run.seed` give the same evidence and files, for it is remembered.
    `paths` names the parameters that are files, which a plan gives relative to its own folder; their content counts in
    what is remembered. `metrics` are the metric ids it can estimate (a gate needs something that estimates its metric),
    `tasks` the kinds of task it is for.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[str, ...]]
    paths: ClassVar[tuple[str, ...]]

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        model: Model,
        run: Run,
        out: Path,
        level: float = 0.95,
    ) -> Evidence:
        """The evidence of what was done. `predictions` and `cohort` hold the same test rows in the same order, `model`
        is the fitted pipeline, `run.folder` is scratch space. What is left in the empty folder `out` goes into the
        release, so it must name no patient."""
        ...
