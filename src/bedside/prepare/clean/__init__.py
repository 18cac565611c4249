"""Cleaning before the split: repairs that learn nothing, each with the evidence of what it changed.

`clean_all` runs a plan's clean steps; those that look at one row at a time come back as specs, which `replay` runs on
new rows in service. Cohort-scope steps (exclusions, duplicates) are never replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence, join
from bedside.prepare.clean.base import Cleaner
from bedside.prepare.protocol import CleanStep

__all__ = ["build", "clean_all", "replay"]


def build(spec: Any) -> CleanStep:
    """A clean step from its spec; raises PlanError for an unknown one or for a step that is fitted."""
    name, _ = plugins.parse_spec(spec)
    known = plugins.catalogue("steps")
    if f"clean.{name}" not in known and name in known:
        raise PlanError(
            f"step '{name}' is fitted, so it may not run before the split: it would learn from the test part",
            "move it to `steps:`",
        )
    step: CleanStep = plugins.build("steps", spec, prefix="clean.")
    return step


def clean_all(cohort: Cohort, specs: Sequence[Any]) -> tuple[Cohort, Evidence, list[dict[str, Any]]]:
    """The cleaned cohort, the evidence of every step in order, and the specs to replay on single rows."""
    pieces, again = [], []
    for spec in specs:
        step = build(spec)
        cohort, evidence = step.clean(cohort)
        pieces.append(evidence)
        if step.scope == "item":
            again.append({"name": step.name, **step.parameters()})
    return cohort, join("clean", pieces), again


def replay(cohort: Cohort, specs: Sequence[Any]) -> Cohort:
    """New rows through the item-scope steps; what a step says of fields that are not there is passed over."""
    for spec in specs:
        step = build(spec)
        part = step.within(set(cohort.schema.names)) if isinstance(step, Cleaner) else step
        if part is not None:
            cohort, _ = part.clean(cohort)
    return cohort
