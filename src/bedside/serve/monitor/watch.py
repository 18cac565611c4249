"""Watch: drift of a served release, of its answers from the audit trail, of its inputs from rows that a site gives.

The audit trail holds no inputs, so that inputs can be watched only by who has them.
"""

from __future__ import annotations

from typing import Any

from bedside.checks.drift import Drift, input_drift, output_drift
from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError
from bedside.models.task import Classify, Multilabel
from bedside.plan.release import contents
from bedside.serve.audit import AuditTrail
from bedside.serve.served import Served

MOST = 5000
PAGE = 500


def inputs_drift(served: Served, raw: Cohort, *, level: float = 0.95) -> Drift:
    """Raw rows, cleaned as the release cleans, against its training part."""
    fitted = served.pipeline.fitted
    return input_drift(fitted.observed, fitted.n_subjects, served.opened.clean(raw), level=level)


def answers_drift(served: Served, trail: AuditTrail, *, most: int = MOST, level: float = 0.95) -> Drift:
    """The newest answers that the trail holds (`most` at most) against the predictions of the release's test part.

    Rows without a subject count as a patient each. Raises BedsideError where the release was made without rows.
    """
    opened = served.opened
    if "rows/cohort.parquet" not in opened.files:
        raise BedsideError(
            f"'{served.name}' holds no predictions to compare with", "make it without `rows: false` in its plan"
        )
    held = contents.read_cohort(opened.read, "rows/cohort")
    stored = contents.read_predictions(opened.read, "rows/predictions", opened.task).frame
    rows: list[dict[str, float]] = []
    subjects: set[str] = set()
    before: int | None = None
    while len(rows) < most:
        page = trail.page(before=before, limit=min(PAGE, most - len(rows)), release=served.digest, kind="predict")
        for each in page:
            rows.append(_columns(served.task, each["prediction"]))
            subjects.add(each["subject"] or f"row {each.index}")
        if not page:
            break
        before = page[-1].index
    names = list(served.task.columns)
    if isinstance(served.task, Classify) and served.task.binary:
        names = names[-1:]  # the other class is one minus it
    scores = {name: [row[name] for row in rows] for name in names}
    reference = {name: stored[name].to_list() for name in names}
    return output_drift(scores, reference, n=len(subjects), n_reference=held.n_subjects, level=level)


def _columns(task: Any, prediction: dict[str, Any]) -> dict[str, float]:
    """A recorded prediction under the names of the task's columns."""
    if isinstance(task, Multilabel):
        return {f"p:{each['target']}": float(each["probability"]) for each in prediction["labels"]}
    if isinstance(task, Classify):
        return {f"p:{label}": float(p) for label, p in prediction["probabilities"].items()}
    return {"value": float(prediction["value"])}
