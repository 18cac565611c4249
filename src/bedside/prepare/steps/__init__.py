"""Fitted steps: learnt on the training part, saved as JSON and arrays, replayed on every other row.

`fit_all`, `apply_all`, `findings`, `save_all` and `load_all` work on a list of steps; the steps themselves are found by
name (entry points `bedside.steps`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json
from bedside.cohort.run import Run
from bedside.errors import PlanError
from bedside.evidence.estimate import Finding
from bedside.prepare.protocol import Step

__all__ = ["apply_all", "build", "findings", "fit_all", "load_all", "save_all"]


def build(spec: Any) -> Step:
    """An unfitted step from its spec; raises PlanError for an unknown one or for a clean step."""
    name, _ = plugins.parse_spec(spec)
    if name.startswith("clean."):
        raise PlanError(f"'{name}' cleans before the split and is no fitted step", "move it to `clean:`")
    step: Step = plugins.build("steps", spec)
    return step


def fit_all(specs: Iterable[Any], train: Cohort, run: Run) -> list[Step]:
    """Fit each step on the training part as the steps before it left it."""
    fitted = []
    for spec in specs:
        step = build(spec).fit(train, run=run)
        train = step.apply(train)
        fitted.append(step)
    return fitted


def apply_all(steps: Iterable[Step], cohort: Cohort) -> Cohort:
    """The cohort after all steps, in order."""
    for step in steps:
        cohort = step.apply(cohort)
    return cohort


def findings(steps: Iterable[Step]) -> tuple[Finding, ...]:
    """What the fits found doubtful, in order; a step without `findings` has none."""
    return tuple(found for step in steps if hasattr(step, "findings") for found in step.findings())


def save_all(steps: Sequence[Step], folder: Path) -> None:
    """Write fitted steps into an existing empty folder: steps.json and one folder a step."""
    (folder / "steps.json").write_bytes(canonical_json({"format": 1, "steps": [step.name for step in steps]}))
    for i, step in enumerate(steps):
        (folder / str(i)).mkdir()
        step.save(folder / str(i))


def load_all(folder: Path) -> list[Step]:
    """The inverse of `save_all`."""
    names = json.loads((folder / "steps.json").read_bytes())["steps"]
    return [plugins.load("steps", name).load(folder / str(i)) for i, name in enumerate(names)]
