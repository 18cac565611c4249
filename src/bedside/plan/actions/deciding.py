"""The gate action: every gate judged on all the evidence, and the stage that follows."""

from __future__ import annotations

from bedside.evidence.estimate import Evidence, join
from bedside.evidence.gates import Judgement, Stage, StageDecision, decide_stage, judge
from bedside.evidence.policy import allows_autonomous
from bedside.plan.file.plan import Plan

WAIVERS = ("shared_subjects_waived", "duplicates_waived")


def decide(
    plan: Plan,
    evidence: list[Evidence],
    asked: Stage,
    *,
    keeps_rows: bool,
) -> tuple[StageDecision, list[Judgement]]:
    """Judge every gate and decide the stage; all it knows, but whether the model keeps rows, stands in the evidence."""
    everything = join("all", evidence)
    judgements = [judge(gate, everything) for gate in plan.declared_gates()]
    broken = [item.id for item in everything.findings if item.severity == "stop"]
    caps: dict[str, Stage] = {item.id: "research" for item in everything.findings if item.id in WAIVERS}
    if keeps_rows:
        caps["keeps_rows"] = "research"
    decision = decide_stage(
        judgements,
        asked=asked,
        risk=plan.task.risk,
        broken=broken,
        caps=caps,
        autonomous_allowed=allows_autonomous(plan.gates),
    )
    return decision, judgements
