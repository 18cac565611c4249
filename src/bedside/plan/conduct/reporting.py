"""From evidence to the report of a run: the facts in order, the stage, TRIPOD+AI, and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedside.cohort.digest import canonical_json
from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import Judgement, StageDecision
from bedside.evidence.report.data import ReportData
from bedside.plan.actions.made import Made
from bedside.plan.actions.work import Work
from bedside.plan.conduct.facts import shown
from bedside.plan.file.plan import Plan
from bedside.plan.memo.artifacts import get_evidence


def report_action(work: Work, made: Made, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The memoised rendering of a run's report: {"html": digest, "data": digest}."""
    store = work.bench.store

    def rendered() -> dict[str, Any]:
        from bedside.evidence.report import render

        pieces = [get_evidence(store, digest) for digest in made.evidence]
        data = run_report(work.plan, facts, pieces, made.judged)
        return {"html": store.put(render(data).encode()), "data": store.put(canonical_json(data.to_json()))}

    return work.remembered(
        "report",
        "plan",
        (),
        {"plan": work.plan.digest},
        {"facts": dict(facts), "evidence": list(made.evidence), "judged": dict(made.judged)},
        rendered,
    )


def run_report(
    plan: Plan, facts: Mapping[str, Any], evidence: Sequence[Evidence], judged: Mapping[str, Any]
) -> ReportData:
    """The report of a run."""
    from bedside.checks.tripod import tripod

    return ReportData(
        title=plan.name,
        kind="run",
        facts=tuple(shown(facts)),
        evidence=tuple(evidence),
        judgements=tuple(Judgement.from_json(each) for each in judged["judgements"]),
        stage=StageDecision(judged["stage"], judged["asked"], tuple((a, b) for a, b in judged["reasons"])),
        tripod=tripod({**facts, **plan.to_json()}, evidence),
    )
