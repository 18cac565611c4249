"""The target of a plan in a cohort, and the task that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, Role
from bedside.errors import DataError
from bedside.models.task import Classify, Multilabel, Regress, Task
from bedside.plan.file.plan import TaskSpec


def declare_target(cohort: Cohort, spec: TaskSpec) -> tuple[Cohort, int]:
    """The cohort with the target's role set (and no other), rows without it dropped (of several labels, rows that know
    none); and how many were."""
    cohort = with_target(cohort, spec.targets)
    there = np.column_stack([cohort[name].is_not_null().to_numpy() for name in spec.targets])
    for name, column in zip(spec.targets, there.T, strict=True):
        if not column.any():
            raise DataError(f"target '{name}' is missing in every row", "name another target")
    known = np.flatnonzero(there.any(axis=1))
    return (cohort if known.size == len(cohort) else cohort.take(known)), len(cohort) - int(known.size)


def with_target(cohort: Cohort, names: Sequence[str]) -> Cohort:
    """The cohort with these fields' only role set to target, and no other field a target."""
    targets = [replace(cohort.schema[name], roles=("target",)) for name in names]
    former = [item for item in cohort.schema.with_role("target") if item.name not in names]
    return cohort.with_fields([*(replace(f, roles=_without_target(f)) for f in former), *targets])


def _without_target(item: Field) -> tuple[Role, ...]:
    return tuple(role for role in item.roles if role != "target")


def make_task(cohort: Cohort, spec: TaskSpec) -> Task:
    """The task with what it reads from the cohort (classes, unit)."""
    if spec.regress is not None:
        return Regress.of(cohort, spec.regress, risk=spec.risk)
    costs = None if spec.costs is None else spec.costs.model_dump()
    positive = spec.positive
    if isinstance(spec.classify, list):
        event = {k: _label(v) for k, v in positive.items()} if isinstance(positive, dict) else _event(positive)
        return Multilabel.of(cohort, spec.classify, event, risk=spec.risk, costs=costs)
    (target,) = spec.targets
    return Classify.of(cohort, target, _event(positive), risk=spec.risk, costs=costs)


def _event(value: object) -> str | None:
    return None if value is None else _label(value)


def _label(value: object) -> str:
    """A class as it is called: booleans "true" and "false"."""
    return str(value).lower() if isinstance(value, bool) else str(value)
