"""The gate action: every gate judged on all the evidence, and the stage that follows."""

from __future__ import annotations

from typing import Any

from bedside.evidence.estimate import Evidence, join
from bedside.evidence.gates import Judgement, Stage, StageDecision, decide_stage, judge
from bedside.plan.plan_file import Plan


def decide(
    plan: Plan,
    evidence: list[Evidence],
    asked: Stage,
    *,
    waived: bool,
    keeps_rows: bool,
    findings: list[dict[str, Any]],
) -> tuple[StageDecision, list[Judgement]]:
    """Judge every gate and decide the stage."""
    everything = join("all", evidence)
    judgements = [judge(gate, everything) for gate in plan.declared_gates()]
    broken = [item.id for item in everything.findings if item.severity == "stop"]
    broken += [item["id"] for item in findings if item["severity"] == "stop"]
    caps: dict[str, Stage] = {}
    if waived:
        caps["shared_subjects_waived"] = "research"
    if keeps_rows:
        caps["keeps_rows"] = "research"
    for item in everything.findings:
        if item.id == "duplicates_waived":
            caps[item.id] = "research"
    decision = decide_stage(judgements, asked=asked, risk=plan.task.risk, broken=broken, caps=caps)
    return decision, judgements
