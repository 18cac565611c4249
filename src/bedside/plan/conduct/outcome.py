"""What a run came to, and the folder in which it is laid out for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.store import Store
from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import Judgement, StageDecision
from bedside.plan.actions.acting import lay_actions
from bedside.plan.actions.made import Made
from bedside.plan.file.plan import Plan
from bedside.plan.memo.memo import Done


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `release` is None when integrity is broken; `report` is always there."""

    plan: Plan
    evidence: tuple[Evidence, ...]
    judgements: tuple[Judgement, ...]
    decision: StageDecision
    facts: Mapping[str, Any]
    report: Path
    release: Path | None
    actions: tuple[tuple[str, Done], ...] = field(repr=False, default=())

    @property
    def exit_code(self) -> int:
        """0 when the stage asked was reached, 3 when it was not."""
        return 0 if self.decision.stage == self.decision.asked else 3

    def _repr_html_(self) -> str:
        """The report, for a notebook."""
        import html

        page = self.report.read_text(encoding="utf-8")
        return f'<iframe srcdoc="{html.escape(page)}" style="width:100%;height:70vh;border:0"></iframe>'


def write_run(
    store: Store,
    plan: Plan,
    folder: Path,
    facts: Mapping[str, Any],
    made: Made,
    reported: Mapping[str, str],
) -> Path:
    """Lay the run's plan, facts, evidence, report and what its actions left out for people; returns the report's
    path."""
    make_folder(folder)
    atomic_write(folder / "plan.yaml", plan.without_places().to_yaml().encode())
    pieces = [json.loads(store.get(digest)) for digest in made.evidence]
    atomic_write(folder / "evidence.json", json.dumps(pieces, ensure_ascii=False, indent=1).encode())
    summary = {
        "format": 1,
        "facts": dict(facts),
        "judged": dict(made.judged),
        "kept": made.pooled["predictions"]["bytes"],
    }
    atomic_write(folder / "run.json", json.dumps(summary, ensure_ascii=False, indent=1).encode())
    lay_actions(store, made.actions, folder)
    atomic_write(folder / "report.html", store.get(reported["html"]))
    return folder / "report.html"
