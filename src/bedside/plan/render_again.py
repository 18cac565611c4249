"""`bedside report`: the page of a run or release rendered again from its stored evidence, with later overrides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bedside.cohort.atomic import atomic_write
from bedside.evidence.keys import TrustedKeys
from bedside.evidence.report import render
from bedside.plan.compare import side
from bedside.plan.conduct.reporting import run_report
from bedside.plan.file.plan import parse_plan
from bedside.plan.release.approvals import approvals
from bedside.plan.release.layout import mark_of
from bedside.plan.release.opened import Opened


def overrides_of(release: Opened, trusted: TrustedKeys) -> list[dict[str, str | None]]:
    """Every override of a release, by whom and why, for the report: they show for ever."""
    return [
        {"gate": gate, "by": each.signer.name, "reason": reason, "key": each.signer.key_id, "stage": each.stage}
        for each in approvals(release, trusted)
        for gate, reason in each.overrides.items()
    ]


def render_again(folder: Path, out: Path | None, trusted: TrustedKeys) -> Path:
    """Render a run's or release's report from its stored evidence, with later overrides; returns where it lies."""
    made = side(folder, trusted)
    data = run_report(parse_plan(made.plan, "plan.yaml")[0], made.facts, made.evidence, made.judged)
    if made.release is not None:
        data = replace(data, overrides=overrides_of(made.release, trusted))
    if mark_of(folder).exists():
        data = replace(data, notes=("erased_since",))
    target = out if out is not None else Path(f"{made.name}.html")
    if target.suffix == ".json":
        atomic_write(target, json.dumps(data.to_json(), ensure_ascii=False, indent=1).encode())
    else:
        atomic_write(target, render(data).encode())
    return target
