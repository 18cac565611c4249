"""The action `split`: each patient, whole, on one side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.split import Fold, Split, hold_out, k_fold, refuse_leak
from bedside.evidence.estimate import Evidence, Finding
from bedside.models.task import Task
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.target import make_task
from bedside.plan.file.plan import Plan
from bedside.plan.memo.artifacts import parquet_bytes, put_evidence, read_parquet_bytes


def split(bench: Bench, plan: Plan, cohort_digest: str) -> dict[str, Any]:
    """Put each patient, whole, on one side."""
    cohort = bench.cohort(cohort_digest)
    task = make_task(cohort, plan.task)
    spec = plan.split
    stratify = spec.stratify if spec.stratify is not None else task.strata
    if spec.folds is not None:
        made = k_fold(cohort, folds=spec.folds, tune=spec.tune, by=spec.by, stratify=stratify, seed=spec.seed)
    else:
        made = hold_out(
            cohort,
            test=0.25 if spec.test is None else spec.test,
            tune=spec.tune,
            by=spec.by,
            stratify=stratify,
            seed=spec.seed,
            allow_shared_subjects=spec.waive == "shared_subjects",
        )
    findings = [Finding("shared_subjects_waived", "caution")] if spec.waive is not None else []
    if not findings:
        for fold in made.folds:
            refuse_leak(cohort, fold)
    return {
        "split": bench.store.put(parquet_bytes(made.assignment_frame())),
        "task": task.to_json(),
        "folds": len(made.folds),
        "kind": made.kind,
        "evidence": put_evidence(bench.store, Evidence("split", findings=tuple(findings))),
    }


def get_split(bench: Bench, kept: Mapping[str, Any]) -> Split:
    """The split that `split` kept."""
    return Split.from_frame(read_parquet_bytes(bench.store.get(kept["split"])), kept["kind"])


def final_fold(cohort: Cohort, plan: Plan, task: Task) -> Fold:
    """All rows but a fresh tune part, for the model that a cross-validated plan releases (its test part is empty)."""
    spec = plan.split
    stratify = spec.stratify if spec.stratify is not None else task.strata
    return hold_out(cohort, test=0, tune=spec.tune, by="subject", stratify=stratify, seed=spec.seed + 1).folds[0]
