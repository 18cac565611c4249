"""The action `check`: one check on the test predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.evidence.estimate import Finding, join
from bedside.models.task import task_from_json
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.fitting import refit_on
from bedside.plan.actions.grouping import nameable, of_bands
from bedside.plan.actions.splitting import get_split
from bedside.plan.file.plan import Plan
from bedside.plan.memo.artifacts import get_predictions, put_evidence


def check(
    bench: Bench,
    plan: Plan,
    spec: Any,
    *,
    evaluated: str,
    predictions: Mapping[str, str],
    reference: Mapping[str, Mapping[str, str]],
    task: Mapping[str, Any],
    pipeline: str,
    cohort_digest: str,
    kept: Mapping[str, Any],
) -> dict[str, Any]:
    """The evidence of one check on the test predictions; one that fits again gets the development rows instead."""
    from bedside.checks import run_checks

    asked = plugins.build("checks", spec)
    needs, looks_at = asked.needs, asked.looks_at
    if needs == "refit" and kept["folds"] == 1:
        fold = get_split(bench, kept).folds[0]
        cohort = bench.cohort(cohort_digest).take(np.sort(np.concatenate([fold.train, fold.tune])))
        made = bench.pipeline(pipeline).predict(cohort)
    else:
        cohort = bench.cohort(evaluated)
        if looks_at == "groups":
            numbers = [item.name for item in cohort.schema.fields if item.kind == "number"]
            cohort = nameable(plan, cohort)
            spec = of_bands(spec, [name for name in numbers if cohort.schema[name].kind != "number"])
        made = get_predictions(bench.store, predictions, task)
    others = {name: get_predictions(bench.store, kept, task) for name, kept in reference.items()}

    def refitted(train: Cohort, seed: int) -> Any:
        with bench.folder() as folder:
            run = Run(folder=folder, seed=seed, threads=bench.threads, cache=bench.cache)
            return refit_on(plan, bench.pipeline(pipeline), train, task_from_json(task), run)

    evidence = join(
        "",
        run_checks(
            [spec],
            made,
            cohort,
            task=task_from_json(task),
            seed=plan.split.seed,
            level=plan.level,
            model=bench.pipeline(pipeline),
            fit=refitted,
            reference=others,
            strict=True,
        ),
    )
    evidence = replace(evidence, check=plugins.parse_spec(spec)[0])
    if needs == "model" and kept["folds"] > 1:
        evidence = replace(evidence, findings=(*evidence.findings, Finding("model_is_refit_on_all_rows", "info")))
    evidence = evidence.with_sources(cohort=evaluated, predictions=predictions["content"])
    return {"evidence": put_evidence(bench.store, evidence)}
