"""The actions `clean` and `describe`: repair before the split, and what the result looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bedside.cohort.cohort import Cohort, Origin
from bedside.evidence.estimate import Finding
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.target import declare_target, with_target
from bedside.plan.file.plan import Plan
from bedside.plan.memo.artifacts import put_evidence


def clean(bench: Bench, plan: Plan, cohort_digest: str) -> dict[str, Any]:
    """Repair before the split; drop rows without a target; say what each did."""
    from bedside.prepare.clean import clean_all

    before = bench.cohort(cohort_digest)
    there = [name for name in plan.task.targets if name in before.schema]
    if there:
        # So that no cleaning step takes the outcome for an input.
        before = with_target(before, there)
    cohort, evidence, replay = clean_all(before, plan.clean)
    cohort, dropped = declare_target(cohort, plan.task)
    if dropped:
        finding = Finding("rows_without_target", "info", {"rows": dropped, "target": ", ".join(plan.task.targets)})
        evidence = replace(evidence, findings=(*evidence.findings, finding))
    doubts = (*files_left_out(before), *doubts_about_identity(cohort))
    evidence = replace(evidence, findings=(*evidence.findings, *doubts))
    origin = Origin("clean", {"steps": plan.clean, "task": plan.task.model_dump(mode="json")}, (cohort_digest,))
    digest = bench.keep(cohort.with_origin(origin))
    evidence = evidence.with_sources(before=cohort_digest, cohort=digest)
    return {
        "cohort": digest,
        "evidence": put_evidence(bench.store, evidence),
        "replay": replay,
        "rows": len(cohort),
        "subjects": cohort.n_subjects,
        "identity": cohort.schema.identity,
        "name": cohort.schema.name,
        "fields": cohort.schema.names,
    }


def describe(bench: Bench, cohort_digest: str) -> dict[str, Any]:
    """What the cleaned cohort looks like, field by field: the dataset's card."""
    from bedside.prepare.card import describe as describe_cohort

    evidence = describe_cohort(bench.cohort(cohort_digest)).with_sources(cohort=cohort_digest)
    return {"evidence": put_evidence(bench.store, evidence)}


def files_left_out(cohort: Cohort) -> list[Finding]:
    """A caution when the reader left out files that it could not read."""
    counts = [link.parameters.get("source", {}).get("left_out", 0) for link in cohort.lineage if link.action == "read"]
    return [Finding("files_left_out", "caution", {"count": count}) for count in counts if count]


def doubts_about_identity(cohort: Cohort) -> list[Finding]:
    """A caution when patients are not known by an id."""
    if cohort.schema.identity == "row":
        return [Finding("identity_unknown", "caution")]
    if cohort.schema.identity == "cluster":
        return [Finding("identity_clustered", "caution", {"subjects": cohort.n_subjects})]
    return []
