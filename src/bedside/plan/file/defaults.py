"""What a plan means where it says nothing: the baselines beside the model, and the checks that integrity needs."""

from __future__ import annotations

from typing import Any

from bedside.cohort import plugins
from bedside.plan.file.plan import Candidate, Plan

ALWAYS = ("leakage", "baseline")


def baselines(plan: Plan) -> dict[str, Candidate]:
    """The simple baselines beside the model, by a unique name; a plan that names none gets logistic or ridge
    regression, or the majority where that is the model itself."""
    given = list(plan.baseline)
    if not given:
        usual = "ridge" if plan.task.kind == "regress" else "logistic"
        given = [Candidate(name="majority" if plan.model.name == usual else usual)]
    out: dict[str, Candidate] = {}
    for each in given:
        name, n = each.name, 2
        while name in out:
            name, n = f"{each.name}-{n}", n + 1
        out[name] = each
    return out


def checks_of(plan: Plan) -> list[Any]:
    """The plan's checks, and those that integrity needs whether or not the plan names them."""
    named = {plugins.parse_spec(spec)[0] for spec in plan.checks}
    return [*plan.checks, *(name for name in ALWAYS if name not in named)]
