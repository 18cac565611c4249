"""The actions of a plan, each a plain function of digests and parameters that leaves its result in the store.

The order of their memoisation, and what depends on what, is in `run`. Heavy libraries are imported only when an
action really works, so a run that finds everything remembered imports none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bedside.cohort import plugins
from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.digest import json_digest
from bedside.cohort.run import Run
from bedside.cohort.schema import Field, Role
from bedside.cohort.split import Fold, Split, hold_out, k_fold, refuse_leak
from bedside.cohort.store import Store
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence, Finding, join
from bedside.models.predictions import concat
from bedside.models.task import Classify, Regress, Task, task_from_json
from bedside.plan.artifacts import (
    get_predictions,
    lay_folder,
    parquet_bytes,
    put_evidence,
    put_folder,
    put_predictions,
    read_parquet_bytes,
)
from bedside.plan.plan_file import Candidate, Plan, TaskSpec
from bedside.plan.scratch import resumable_folder, scratch_folder

FINAL = -1  # the fold number of the model refit on all rows


@dataclass
class Bench:
    """Where actions work: the store, scratch space, threads; cohorts read lately are kept in memory."""

    store: Store
    scratch: Path
    threads: int
    _cohorts: dict[str, Cohort] = field(default_factory=dict)
    _pipelines: dict[str, Any] = field(default_factory=dict)

    def cohort(self, digest: str) -> Cohort:
        """A cohort by digest."""
        if digest not in self._cohorts:
            self._cohorts[digest] = self.store.get_cohort(digest)
        return self._cohorts[digest]

    def keep(self, cohort: Cohort) -> str:
        """Store a cohort; returns its digest."""
        digest = self.store.put_cohort(cohort)
        self._cohorts[digest] = cohort if cohort.files is None else cohort.with_files(self.store)
        return digest

    def pipeline(self, digest: str) -> Any:
        """A fitted pipeline by the digest of its folder."""
        if digest not in self._pipelines:
            from bedside.models.pipeline import Pipeline

            with self.folder() as folder:
                self._pipelines[digest] = Pipeline.load(lay_folder(self.store, digest, folder))
        return self._pipelines[digest]

    @property
    def fitting(self) -> Path:
        """Where fits keep their checkpoints, so that a killed one goes on where it was."""
        return self.scratch.with_name("fitting")

    def folder(self) -> AbstractContextManager[Path]:
        """A scratch folder that is gone afterwards."""
        return scratch_folder(self.scratch)


def read(bench: Bench, plan: Plan, location: Path | str, base: Path) -> dict[str, Any]:
    """Read the data as it is: nothing changed, everything digested."""
    reader = plugins.build("readers", {"name": plan.cohort.read, **reader_parameters(plan, base)})
    cohort = reader.read(location)
    if len(cohort) == 0:
        raise DataError(f"{location}: no rows", "check the file and the reader's parameters")
    return kept_as_read(bench, cohort, {"name": plan.cohort.read, **_alike(reader, plan, cohort)})


def kept_as_read(bench: Bench, cohort: Cohort, alike: Mapping[str, Any]) -> dict[str, Any]:
    """The output of reading; `alike` is the spec of the reader that reads later data as this was read."""
    counts = {"rows": len(cohort), "subjects": cohort.n_subjects}
    return {"cohort": bench.keep(cohort), **counts, "alike": dict(alike)}


def _alike(reader: Any, plan: Plan, cohort: Cohort) -> dict[str, Any]:
    from bedside.intake.protocol import ReadsAlike

    if isinstance(reader, ReadsAlike):
        return reader.like(cohort.schema)
    gone = {"target", "event", *getattr(reader, "paths", ())}  # a file beside the plan is not there later
    return {key: value for key, value in plan.cohort.parameters.items() if key not in gone}


def reader_parameters(plan: Plan, base: Path) -> dict[str, Any]:
    """The reader's parameters, those that are paths resolved against the plan's own folder."""
    paths = reader_paths(plan, base)
    return {key: str(paths[key]) if key in paths else value for key, value in plan.cohort.parameters.items()}


def reader_paths(plan: Plan, base: Path) -> dict[str, Path]:
    """Those of the reader's parameters that name files beside the table."""
    names = getattr(plugins.load("readers", plan.cohort.read), "paths", ())
    given = plan.cohort.parameters
    return {key: (base / given[key]).resolve() for key in names if isinstance(given.get(key), str)}


def clean(bench: Bench, plan: Plan, cohort_digest: str) -> dict[str, Any]:
    """Repair before the split; drop rows without a target; say what each did."""
    from bedside.prepare.clean import clean_all

    before = bench.cohort(cohort_digest)
    if plan.task.target in before.schema:
        # So that no cleaning step takes the outcome for an input.
        before = with_target(before, plan.task.target)
    cohort, evidence, replay = clean_all(before, plan.clean)
    cohort, dropped = declare_target(cohort, plan.task)
    if dropped:
        finding = Finding("rows_without_target", "info", {"rows": dropped, "target": plan.task.target})
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


def declare_target(cohort: Cohort, spec: TaskSpec) -> tuple[Cohort, int]:
    """The cohort with the target's role set (and no other), rows without it dropped; and how many were."""
    cohort = with_target(cohort, spec.target)
    known = np.flatnonzero(cohort[spec.target].is_not_null().to_numpy())
    if known.size == 0:
        raise DataError(f"target '{spec.target}' is missing in every row", "name another target")
    return (cohort if known.size == len(cohort) else cohort.take(known)), len(cohort) - int(known.size)


def with_target(cohort: Cohort, name: str) -> Cohort:
    """The cohort with one field's only role set to target, and no other field a target."""
    target = replace(cohort.schema[name], roles=("target",))
    former = [item for item in cohort.schema.with_role("target") if item.name != name]
    return cohort.with_fields([*(replace(f, roles=_without_target(f)) for f in former), target])


def _without_target(item: Field) -> tuple[Role, ...]:
    return tuple(role for role in item.roles if role != "target")


def make_task(cohort: Cohort, spec: TaskSpec) -> Task:
    """The task with what it reads from the cohort (classes, unit)."""
    if spec.regress is not None:
        return Regress.of(cohort, spec.regress, risk=spec.risk)
    positive = spec.positive
    if isinstance(positive, bool):
        positive = "true" if positive else "false"
    label = None if positive is None else str(positive)
    costs = None if spec.costs is None else spec.costs.model_dump()
    return Classify.of(cohort, spec.target, label, risk=spec.risk, costs=costs)


def split(bench: Bench, plan: Plan, cohort_digest: str) -> dict[str, Any]:
    """Put each patient, whole, on one side."""
    cohort = bench.cohort(cohort_digest)
    task = make_task(cohort, plan.task)
    spec = plan.split
    stratify = spec.stratify if spec.stratify is not None else task.target
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


def final_fold(cohort: Cohort, plan: Plan, target: str) -> Fold:
    """All rows but a fresh tune part, for the model that a cross-validated plan releases (its test part is empty)."""
    spec = plan.split
    stratify = spec.stratify if spec.stratify is not None else target
    return hold_out(cohort, test=0, tune=spec.tune, by="subject", stratify=stratify, seed=spec.seed + 1).folds[0]


def fit(
    bench: Bench, plan: Plan, candidate: Candidate, cohort_digest: str, kept: Mapping[str, Any], fold: int
) -> dict[str, Any]:
    """Fit steps and model on train (search for early stopping and tuning), calibrator and threshold on calibrate."""
    cohort = bench.cohort(cohort_digest)
    task = task_from_json(kept["task"])
    if fold == FINAL:
        parts = final_fold(cohort, plan, task.target)
    else:
        parts = get_split(bench, kept).folds[fold]
    procedure = plan.model_dump(mode="json", include={"steps", "calibrate", "threshold", "search", "task", "split"})
    asked = {"candidate": candidate.model_dump(mode="json"), "threads": bench.threads, "plan": procedure}
    work = json_digest({**asked, "cohort": cohort_digest, "split": kept["split"], "fold": fold})
    with resumable_folder(bench.fitting, work) as checkpoints, bench.folder() as folder:
        run = Run(folder=checkpoints, seed=fit_seed(plan, fold), threads=bench.threads)
        pipeline = new_pipeline(plan, candidate)
        pipeline.fit(
            cohort.take(parts.train), cohort.take(parts.search), cohort.take(parts.calibrate), task=task, run=run
        )
        pipeline.save(folder)
        digest = put_folder(bench.store, folder)
    bench._pipelines[digest] = pipeline
    findings = [item.to_json() for item in pipeline.findings()]
    curve = getattr(pipeline.model, "learning_curve", None)
    figures = [] if curve is None else [curve().to_json()]
    return {"pipeline": digest, "findings": findings, "figures": figures, "keeps_rows": pipeline.keeps_rows}


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


def predict(bench: Bench, cohort_digest: str, kept: Mapping[str, Any], pipeline: str, fold: int) -> dict[str, Any]:
    """Predictions of one fold's pipeline for its test part."""
    cohort = bench.cohort(cohort_digest)
    rows = get_split(bench, kept).folds[fold].test
    predictions = bench.pipeline(pipeline).predict(cohort.take(rows))
    predictions = predictions.with_columns(fold=pl.Series(np.full(len(predictions), fold, dtype=np.int64)))
    return {"predictions": put_predictions(bench.store, predictions)}


def pool(
    bench: Bench, cohort_digest: str, kept: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The test predictions of all folds in the order of the cohort, and the cohort of just those rows."""
    cohort = bench.cohort(cohort_digest)
    folds = get_split(bench, kept).folds
    rows = np.concatenate([fold.test for fold in folds])
    order = np.argsort(rows, kind="stable")
    if np.unique(rows).size != rows.size:
        raise PlanError("a row is predicted in more than one fold", "use split by subject")
    everything = concat([get_predictions(bench.store, piece["predictions"], kept["task"]) for piece in pieces])
    evaluated = cohort.take(rows[order])
    return {
        "predictions": put_predictions(bench.store, everything.take(order)),
        "cohort": bench.keep(evaluated),
        "rows": len(evaluated),
        "subjects": evaluated.n_subjects,
    }


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

    needs = plugins.build("checks", spec).needs
    if needs == "refit" and kept["folds"] == 1:
        fold = get_split(bench, kept).folds[0]
        cohort = bench.cohort(cohort_digest).take(np.sort(np.concatenate([fold.train, fold.tune])))
        made = bench.pipeline(pipeline).predict(cohort)
    else:
        cohort = bench.cohort(evaluated)
        made = get_predictions(bench.store, predictions, task)
    others = {name: get_predictions(bench.store, kept, task) for name, kept in reference.items()}

    def refitted(train: Cohort, seed: int) -> Any:
        with bench.folder() as folder:
            return refit_on(plan, train, task_from_json(task), Run(folder=folder, seed=seed, threads=bench.threads))

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


def refit_on(plan: Plan, cohort: Cohort, task: Task, run: Run) -> Any:
    """The plan's whole procedure carried out on another cohort."""
    held = final_fold(cohort, plan, task.target)
    pipeline = new_pipeline(plan, plan.model)
    return pipeline.fit(
        cohort.take(held.train), cohort.take(held.search), cohort.take(held.calibrate), task=task, run=run
    )
