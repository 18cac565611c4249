"""The Check protocol: predictions (and model) in, Evidence out; same inputs and seed, same Evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, runtime_checkable

from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Evidence
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Task

Needs = Literal["predictions", "model", "refit"]
LooksAt = Literal["outcome", "groups", "inputs"]
Fit = Callable[[Cohort, int], Model]


@runtime_checkable
class Check(Protocol):
    """A pure question put to predictions. Entry point `bedside.checks`; `__init__(**parameters)` stores them.

    `predictions` and `cohort` hold the same rows in the same order (those of `part`). `reference` maps the name of a
    baseline to its predictions for the same rows. `model` is the fitted pipeline (needs "model"); `fit(cohort, seed)`
    carries the whole procedure out again on another cohort (needs "refit").

    `metrics` are the metric ids it can estimate (a gate needs a check that estimates its metric). `looks_at` says which
    fields of the cohort it reads: "outcome" (target, subject, time, weight), "groups" (those and its `groups` fields),
    or "inputs" (any). Only the first two are carried into a release, so only those can be recomputed by `verify`.

    A check that is not for every model may have `refuse_model(model)`, which raises PlanError for one (not yet fitted)
    that it is not for: the plan is then refused before any data is read.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    tasks: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[str, ...]]
    looks_at: ClassVar[LooksAt]

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """The evidence of this check."""
        ...
