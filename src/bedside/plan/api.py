"""The same in Python: a plan from a mapping, YAML text or file, on a file or on a cohort in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bedside.cohort.cohort import Cohort
from bedside.cohort.workspace import Workspace
from bedside.errors import PlanError
from bedside.plan.actions.work import Progress
from bedside.plan.conduct.conductor import Conductor
from bedside.plan.conduct.outcome import Outcome
from bedside.plan.file.plan import Plan, load_plan, parse_plan

IN_MEMORY = "memory"


def run(
    plan: Plan | Mapping[str, Any] | str | Path,
    cohort: Cohort | None = None,
    *,
    home: Path | str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Carry out a plan in the workspace at `home`, on the data it names or on `cohort`.

    A mapping, or YAML text, is a plan without the file; with `cohort` its key `cohort` may be left out. Paths in a plan
    file are relative to the file, otherwise to the current folder. Raises PlanError as `bedside run` does.
    """
    workspace = Workspace(home)
    base = Path.cwd()
    if isinstance(plan, Path) or (
        isinstance(plan, str) and "\n" not in plan and Path(plan).suffix in (".yaml", ".yml")
    ):
        base = Path(plan).resolve().parent
        made, document = load_plan(Path(plan))
    else:
        text = plan if isinstance(plan, str) else _as_yaml(plan, cohort)
        made, document = parse_plan(text)
    conductor = Conductor(
        made, workspace, base=base, document=document, threads=threads, progress=progress, given=cohort
    )
    return conductor.carry_out()


def _as_yaml(plan: Plan | Mapping[str, Any], cohort: Cohort | None) -> str:
    if isinstance(plan, Plan):
        return plan.to_yaml()
    content = {"plan": 1, **plan}
    if cohort is not None:
        if "cohort" in content:
            raise PlanError("the plan names a cohort and one is given", "leave out one of them")
        content["cohort"] = {"read": IN_MEMORY, "path": cohort.digest}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
