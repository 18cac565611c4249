"""The target of a plan in a cohort, and the task that follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, Role
from bedside.errors import DataError
from bedside.models.task import Classify, Regress, Task
from bedside.plan.file.plan import TaskSpec


def declare_target(cohort: Cohort, spec: TaskSpec) -> tuple[Cohort, int]:
    """The cohort with the target's role set (and no other), rows without it dropped; and how many were."""
    cohort = with_target(cohort, spec.target)
    known = np.flatnonzero(cohort[spec.target].is_not_null().to_numpy())
    if known.size == 0:
        raise DataError(f"target '{spec.target}' is missing in every row", "name another target")
    return (cohort if known.size == len(cohort) else cohort.take(known)), len(cohort) - int(known.size)


def with_target(cohort: Cohort, name: str) -> Cohort:
    """The cohort with one field's only role set to target, and no other field a target."""
    target = replace(cohort.schema[name], roles=("target",))
    former = [item for item in cohort.schema.with_role("target") if item.name != name]
    return cohort.with_fields([*(replace(f, roles=_without_target(f)) for f in former), target])


def _without_target(item: Field) -> tuple[Role, ...]:
    return tuple(role for role in item.roles if role != "target")


def make_task(cohort: Cohort, spec: TaskSpec) -> Task:
    """The task with what it reads from the cohort (classes, unit)."""
    if spec.regress is not None:
        return Regress.of(cohort, spec.regress, risk=spec.risk)
    positive = spec.positive
    if isinstance(positive, bool):
        positive = "true" if positive else "false"
    label = None if positive is None else str(positive)
    costs = None if spec.costs is None else spec.costs.model_dump()
    return Classify.of(cohort, spec.target, label, risk=spec.risk, costs=costs)
