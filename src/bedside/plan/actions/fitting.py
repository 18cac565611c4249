"""The action `fit`: steps, model, calibrator and threshold of one fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.run import Run
from bedside.models.task import Task, task_from_json
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.splitting import final_fold, get_split
from bedside.plan.file.plan import Candidate, Plan
from bedside.plan.memo.artifacts import put_folder
from bedside.plan.memo.scratch import resumable_folder

FINAL = -1  # the fold number of the model refit on all rows


def fit(
    bench: Bench,
    plan: Plan,
    candidate: Candidate,
    cohort_digest: str,
    kept: Mapping[str, Any],
    fold: int,
    asked: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit steps and model on train (search for early stopping and tuning), calibrator and threshold on calibrate.

    `asked` is what the first fold's fit says to ask of the others: the counts that its minutes came to.
    """
    from bedside.models.pipeline import Pipeline

    cohort = bench.cohort(cohort_digest)
    task = task_from_json(kept["task"])
    if fold == FINAL:
        parts = final_fold(cohort, plan, task)
    else:
        parts = get_split(bench, kept).folds[fold]
    procedure = plan.model_dump(mode="json", include={"steps", "calibrate", "threshold", "search", "task", "split"})
    whole = {"candidate": candidate.model_dump(mode="json"), "threads": bench.threads, "plan": procedure}
    work = json_digest({**whole, "cohort": cohort_digest, "split": kept["split"], "fold": fold, "asked": asked})
    with resumable_folder(bench.fitting, work) as checkpoints, bench.folder() as folder:
        run = Run(checkpoints, seed=fit_seed(plan, fold), threads=bench.threads, cache=bench.cache)
        pipeline = new_pipeline(plan, candidate) if asked is None else Pipeline(**asked)
        pipeline.fit(
            cohort.take(parts.train), cohort.take(parts.search), cohort.take(parts.calibrate), task=task, run=run
        )
        pipeline.save(folder)
        digest = put_folder(bench.store, folder)
    bench._pipelines[digest] = pipeline
    findings = [item.to_json() for item in pipeline.findings()]
    curve = getattr(pipeline.model, "learning_curve", None)
    figures = [] if curve is None else [curve().to_json()]
    return {
        "pipeline": digest,
        "asked": pipeline.without_clock(),
        "findings": findings,
        "figures": figures,
        "keeps_rows": pipeline.keeps_rows,
    }


def fit_seed(plan: Plan, fold: int) -> int:
    """A seed of its own for each fold's fit."""
    return (plan.split.seed * 1009 + fold + 1) % 2**32


def new_pipeline(plan: Plan, candidate: Candidate) -> Any:
    """An unfitted pipeline as the plan says it."""
    from bedside.models.catalogue import default_calibration
    from bedside.models.pipeline import Pipeline

    is_model = candidate is plan.model
    return Pipeline(
        candidate.spec,
        steps=candidate.steps if candidate.steps is not None else (plan.steps if is_model else None),
        calibration=plan.calibrate if plan.calibrate is not None else default_calibration(candidate.spec),
        threshold=plan.threshold_rule,
        tuning=plan.search.model_dump(exclude_none=True) if is_model and plan.search is not None else None,
    )


def refit_on(plan: Plan, fitted: Any, cohort: Cohort, task: Task, run: Run) -> Any:
    """The plan's whole procedure, as it made a fitted pipeline, carried out on another cohort."""
    held = final_fold(cohort, plan, task)
    return type(fitted)(**fitted.without_clock()).fit(
        cohort.take(held.train), cohort.take(held.search), cohort.take(held.calibrate), task=task, run=run
    )
