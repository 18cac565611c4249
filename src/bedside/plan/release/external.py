"""Local external validation: a release judged on another hospital's cohort, as it is and after simple updates.

Updates (Steyerberg 2004; Janssen 2008): recalibration in the large (a new intercept), logistic recalibration (intercept
and slope), and the whole procedure refit. Each is fitted on four fifths of the local subjects and judged on the fifth
it has not seen, so that all are compared on honest ground.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort import plugins
from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.split import k_fold
from bedside.errors import BedsideError, DataError
from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.gates import Judgement, judge
from bedside.evidence.metrics import logistic
from bedside.evidence.metrics.calibration import logit
from bedside.evidence.report.data import ReportData
from bedside.models.predictions import Predictions
from bedside.models.rows import row_weights
from bedside.models.task import Classify, Multilabel, Regress, Task
from bedside.plan.actions import declare_target, doubts_about_identity, refit_on
from bedside.plan.release.opened import Opened
from bedside.plan.release.seen import overlap

FOLDS = 5
UPDATES = ("intercept", "slope", "refit")


@dataclass(frozen=True)
class Validation:
    """Evidence of the release on the local cohort; `updated` holds that of each update, by its name."""

    evidence: tuple[Evidence, ...]
    updated: Mapping[str, tuple[Evidence, ...]]
    judgements: tuple[Judgement, ...]
    data: ReportData

    @property
    def exit_code(self) -> int:
        """0 when every gate passes on the local data, 3 when one fails or is undecided."""
        return 0 if all(each.verdict == "pass" for each in self.judgements) else 3

    def write(self, folder: Path) -> Path:
        """Write report.html and report.json; returns the page's path."""
        from bedside.evidence.report import render

        make_folder(folder)
        atomic_write(folder / "report.json", json.dumps(self.data.to_json(), ensure_ascii=False, indent=1).encode())
        atomic_write(folder / "report.html", render(self.data).encode())
        return folder / "report.html"


def validate(release: Opened, raw: Cohort, *, seed: int = 0, threads: int = 1, refit: bool = True) -> Validation:
    """Judge a release on a raw local cohort with its target; raises DataError when the target is not what it knows."""
    plan = release.plan
    cohort, dropped = declare_target(release.clean(raw), plan.task)
    task = release.task
    for each in _of_two(task):
        unknown = each.truth(cohort) < 0
        if (unknown & cohort[each.target].is_not_null().to_numpy()).any():
            raise DataError(
                f"'{each.target}' holds classes that the release does not know", f"it knows {list(each.classes)}"
            )
    if isinstance(task, Regress):
        Regress.of(cohort, task.target)  # raises where the target is no number here, or constant
    predictions = release.pipeline.predict(cohort)
    specs = [spec for spec in release.record["checks"] if _on_predictions(spec)]
    run = _Checks(specs, cohort, release, seed)
    evidence = run.of(predictions, {})
    findings = doubts_about_identity(cohort)
    if dropped:
        findings.append(Finding("rows_without_target", "caution", {"rows": dropped, "target": ", ".join(task.targets)}))
    findings += _development(release, raw)
    updated: dict[str, tuple[Evidence, ...]] = {}
    if _of_two(task) and all(each.binary for each in _of_two(task)):
        for name in UPDATES if refit else UPDATES[:-1]:
            try:
                made = _updated(name, release, cohort, predictions, seed, threads)
            except BedsideError as error:
                findings.append(Finding("updates_not_possible", "caution", {"why": f"{name}: {error.what}"}))
            else:
                updated[name] = run.of(made, {"as_released": predictions}, update=name)
    evidence = (Evidence("validate", findings=tuple(findings)), *evidence)
    from bedside.evidence.estimate import join

    everything = join("all", evidence)
    judgements = tuple(judge(gate, everything) for gate in plan.declared_gates() if gate.versus is None)
    data = ReportData(
        title=str(release.record["name"]),
        kind="validate",
        facts=(
            ("release_digest", release.digest),
            ("signer", release.signer.name),
            ("cohort", cohort.schema.name),
            ("identity", cohort.schema.identity),
            ("rows", len(cohort)),
            ("subjects", cohort.n_subjects),
            ("target", task.targets[0] if len(task.targets) == 1 else task.targets),
            ("cohort_digest", cohort.digest),
        ),
        evidence=(*evidence, *(piece for each in updated.values() for piece in each)),
        judgements=judgements,
    )
    return Validation(evidence, updated, judgements, data)


@dataclass(frozen=True)
class _Checks:
    specs: list[Any]
    cohort: Cohort
    release: Opened
    seed: int

    def of(
        self, predictions: Predictions, reference: dict[str, Predictions], update: str | None = None
    ) -> tuple[Evidence, ...]:
        from bedside.checks import run_checks

        specs = ["performance", "calibration", "baseline"] if update is not None else self.specs
        made = run_checks(
            specs,
            predictions,
            self.cohort,
            task=self.release.task,
            seed=self.seed,
            level=self.release.record["level"],
            reference=reference,
        )
        return tuple(_external(piece, update) for piece in made)


def _development(release: Opened, raw: Cohort) -> list[Finding]:
    """A caution when the local rows are, in whole or in part, those that the release was developed on."""
    if raw.digest == release.record["facts"]["digests"]["read"]:
        return [Finding("validated_on_development", "caution", {"percent": 100})]
    if "seen.json" not in release.files:
        return [Finding("development_overlap_unknown", "info")]
    found = overlap(json.loads(release.read("seen.json")), raw)
    if found is None:
        return [Finding("development_overlap_unknown", "info")]
    share, least = found
    return [Finding("validated_on_development", "caution", {"percent": round(100 * share)})] if least > 0 else []


def _external(piece: Evidence, update: str | None) -> Evidence:
    estimates = []
    for item in piece.estimates:
        at = item.at if update is None else {**(item.at or {}), "update": update}
        estimates.append(replace(item, part="external", at=at))
    figures = () if update is not None else tuple(replace(each, part="external") for each in piece.figures)
    return replace(piece, estimates=tuple(estimates), figures=figures)


def _on_predictions(spec: Any) -> bool:
    name = plugins.parse_spec(spec)[0]
    check = plugins.load("checks", name)
    return check.needs == "predictions" and check.looks_at != "inputs" and name != "baseline"


def _updated(
    name: str, release: Opened, cohort: Cohort, predictions: Predictions, seed: int, threads: int
) -> Predictions:
    """Out-of-fold predictions of an update; of several labels, each updated on the rows that know it."""
    task = release.task
    labels = _of_two(task)
    split = k_fold(cohort, folds=FOLDS, tune=0.0, by="subject", stratify=task.strata, seed=seed)
    p = np.empty((len(labels), len(cohort)))
    call = np.empty((len(labels), len(cohort)), dtype=object)
    weights = row_weights(cohort)
    for fold in split.folds:
        rows = np.sort(np.concatenate([fold.train, fold.search, fold.calibrate]))
        if name == "refit":
            with TemporaryDirectory() as folder:
                run = Run(folder=Path(folder), seed=seed, threads=threads)
                again = refit_on(release.plan, release.pipeline, cohort.take(rows), task, run)
            made = again.predict(cohort.take(fold.test))
            for i, each in enumerate(labels):
                own = _of(made, each)
                p[i, fold.test], call[i, fold.test] = own.score, own.frame["call"].to_numpy()
            continue
        for i, each in enumerate(labels):
            own, truth = _of(predictions, each), each.truth(cohort)
            known = rows[truth[rows] >= 0]
            events = truth[known].astype(np.float64)
            w = None if weights is None else weights[known]
            p[i, fold.test] = recalibrated(
                own.score[known], events, own.score[fold.test], slope=name == "slope", weights=w
            )
            threshold = own.frame["threshold"].to_numpy()[fold.test]
            call[i, fold.test] = np.where(p[i, fold.test] >= threshold, each.classes[1], each.classes[0])
    pieces = [
        Predictions.of_probabilities(each, cohort["row_id"], np.column_stack([1 - own, own])).with_columns(
            call=pl.Series(called.tolist(), dtype=pl.String)
        )
        for each, own, called in zip(labels, p, call, strict=True)
    ]
    return Predictions.of_labels(task, pieces) if isinstance(task, Multilabel) else pieces[0]


def _of_two(task: Task) -> tuple[Classify, ...]:
    """The task of classes itself, or that of each label; none for a number."""
    if isinstance(task, Multilabel):
        return task.labels
    return (task,) if isinstance(task, Classify) else ()


def _of(predictions: Predictions, task: Classify) -> Predictions:
    """The predictions of one label, or the predictions themselves."""
    return predictions.of_label(task.target) if isinstance(predictions.task, Multilabel) else predictions


def recalibrated(
    p_fit: NDArray[np.float64],
    y: NDArray[np.float64],
    p_new: NDArray[np.float64],
    *,
    slope: bool,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """New probabilities from a logistic regression of y on logit(p): intercept alone (slope 1), or both.

    A weight counts as so many equal rows.
    """
    if y.sum() < 10 or (1 - y).sum() < 10:
        raise DataError(f"{int(y.sum())} events among {len(y)} rows", "an update needs 10 events and 10 non-events")
    x, new = logit(p_fit), logit(p_new)
    ones = np.ones_like(x)
    if slope:
        intercept, gradient = logistic.fit(np.vstack([ones, x]), y, weights=weights)
        z = intercept + gradient * new
    else:
        z = logistic.fit(ones[None, :], y, offset=x, weights=weights)[0] + new
    return np.asarray(1 / (1 + np.exp(-z)))
