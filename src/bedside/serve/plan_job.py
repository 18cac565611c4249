"""A plan run as a job: an uploaded table and a plan over it, in a folder of their own that the plan cannot leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.workspace import Workspace
from bedside.intake.tables import Tables
from bedside.plan.api import run
from bedside.plan.file.plan import Plan, parse_plan
from bedside.plan.file.refuse import refuse_bad_plan

DATA = "data.csv"


def checked(text: str) -> Plan:
    """A plan that may be run for a caller: it reads the uploaded table and names no other place.

    Raises PlanError, with the line, for a plan that is wrong, and for one that would read elsewhere.
    """
    plan, document = parse_plan(text, "plan.yaml")
    if plan.cohort.read != "tables" or plan.cohort.path != DATA:
        raise document.error(
            ("cohort",), "the plan reads something else than the table sent with it", f"{{read: tables, path: {DATA}}}"
        )
    for name in Tables.paths:
        if isinstance(plan.cohort.parameters.get(name), str):
            raise document.error(("cohort", name), f"`{name}` names a file on this machine", "write it into the plan")
    refuse_bad_plan(plan, document)
    return plan


class PlanJob:
    """One run: `arguments` are plan (text) and input (digest of the table in the store)."""

    def __init__(self, workspace: Workspace, arguments: Mapping[str, Any], job: str) -> None:
        self.workspace, self.arguments, self.job = workspace, arguments, job

    @property
    def folder(self) -> Path:
        """Where plan and table lie."""
        return self.workspace.home / "plans" / self.job

    def run(self, tell: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
        """Carry the plan out; what an earlier, killed run had done is remembered and not done again."""
        checked(str(self.arguments["plan"]))
        make_folder(self.folder)
        atomic_write(self.folder / DATA, self.workspace.store.get(str(self.arguments["input"])))
        atomic_write(self.folder / "plan.yaml", str(self.arguments["plan"]).encode())
        done: list[dict[str, Any]] = []

        def progress(label: str, state: str, seconds: float) -> None:
            if state == "start":
                tell({"now": label, "done": len(done)})
            elif state == "done":
                done.append({"action": label, "seconds": round(seconds, 1)})

        outcome = run(self.folder / "plan.yaml", home=self.workspace.home, threads=1, progress=progress)
        release = None
        if outcome.release is not None:
            release = json.loads((outcome.release / "release.json").read_bytes())["name"]
        return {
            "stage": outcome.decision.stage,
            "asked": outcome.decision.asked,
            "reasons": [list(each) for each in outcome.decision.reasons],
            "release": release,
            "folder": None if outcome.release is None else outcome.release.name,
            "actions": done,
        }
