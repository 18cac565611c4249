"""Exclusions: rows that the study does not look at, each with its reason, and the flow that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence, Figure
from bedside.prepare.clean.base import PART, Cleaner, counted
from bedside.prepare.clean.rules import Rule, parse


@dataclass
class Exclude(Cleaner):
    """Rows that fulfil a criterion are left out; a row counts for the first that it fulfils.

    A criterion is {rule: age < 18, reason: children} or {field: disposition, in: [11, 13], reason: died}; a reason is
    required. Rules in the grammar of `rules`.
    """

    criteria: Sequence[Mapping[str, Any]]

    name: ClassVar[str] = "exclude"
    scope: ClassVar[Literal["item", "cohort"]] = "cohort"
    main: ClassVar[str] = "criteria"

    def __post_init__(self) -> None:
        if isinstance(self.criteria, Mapping | str) or not self.criteria:
            raise PlanError("clean step 'exclude': no list of criteria", "write [{rule: age < 18, reason: children}]")
        for criterion in self.criteria:
            _rule(criterion)

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """The rows left; counts by criterion and the flow. Raises DataError when no row is left."""
        rules = [_rule(criterion) for criterion in self.criteria]
        marked = cohort.frame.select([rule.expression(cohort.schema).alias(str(i)) for i, rule in enumerate(rules)])
        left = np.ones(len(cohort), dtype=bool)
        subjects = cohort.subject_codes
        reasons, dropped, remaining = ["read"], [0], [len(cohort)]
        remaining_subjects = [cohort.n_subjects]
        estimates = []
        for i, criterion in enumerate(self.criteria):
            hit = left & marked[str(i)].to_numpy()
            left &= ~hit
            count = int(hit.sum())
            reasons.append(str(criterion["reason"]))
            dropped.append(count)
            remaining.append(int(left.sum()))
            remaining_subjects.append(int(np.unique(subjects[left]).size))
            estimates.append(
                counted("clean_rows_excluded", count, cohort, step=self.name, reason=str(criterion["reason"]))
            )
        if not left.any():
            raise DataError("the exclusions leave no row", "look at the criteria: " + "; ".join(r.text for r in rules))
        flow = Figure(
            "cohort_flow",
            "bar",
            {"step": reasons, "rows": remaining, "subjects": remaining_subjects, "excluded": dropped},
            {"x": "rows", "y": "step"},
            part=PART,
        )
        return cohort.take(np.flatnonzero(left)), Evidence("clean.exclude", tuple(estimates), (flow,))


def _rule(criterion: Any) -> Rule:
    if not isinstance(criterion, Mapping) or "reason" not in criterion:
        raise PlanError(f"exclusion {criterion!r} has no reason", "write {rule: age < 18, reason: children}")
    if set(criterion) == {"rule", "reason"}:
        return parse(criterion["rule"])
    if set(criterion) == {"field", "in", "reason"} and isinstance(criterion["in"], list | tuple) and criterion["in"]:
        name = f"`{criterion['field']}`"
        return parse(f"{name} in [{', '.join(_literal(value) for value in criterion['in'])}]")
    raise PlanError(f"cannot read the exclusion {dict(criterion)!r}", "write {field: name, in: [values], reason: why}")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return f"'{value}'" if "'" not in str(value) else f'"{value}"'
