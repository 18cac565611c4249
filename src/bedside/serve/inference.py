"""Inference: raw rows to answers, with the release's own cleaning, steps, model, calibration and threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.evidence.glossary import text
from bedside.models.predictions import Predictions
from bedside.models.task import Classify, Multilabel, Regress, Task
from bedside.serve import explain
from bedside.serve.served import Served


def both(key: str, **values: Any) -> dict[str, str]:
    """A sentence of the glossary in both languages."""
    return {"en": text(key, "en", **values), "zh": text(key, "zh", **values)}


def answers(served: Served, raw: Cohort, *, explained: bool) -> list[dict[str, Any]]:
    """One JSON object a row: `prediction`, `outside` (inputs beyond what training showed) and `explanation`.

    Raises DataError for rows that the release's cleaning or model refuses.
    """
    if len(raw) == 0:
        raise DataError("there are no rows to answer", "send at least one")
    cleaned = served.opened.clean(raw)
    if len(cleaned) != len(raw):
        raise DataError("cleaning drops rows, so they cannot be answered", "see the release's card")
    found = served.predict(cleaned)
    flags = _outside(served, raw, cleaned)
    why = explain.contributions(served.pipeline, cleaned, served.task, served.typical) if explained else None
    maps = explain.heat_maps(served.pipeline, cleaned, served.task) if explained and why is None else None
    predicted = predictions(served.task, found)
    out = []
    for i, row_id in enumerate(cleaned["row_id"].to_list()):
        answer: dict[str, Any] = {
            "row": i,
            "prediction": predicted[i],
            "outside": flags.get(row_id, []),
        }
        if explained:
            given = why[i] if why is not None else maps[i] if maps is not None else None
            answer["explanation"] = given if given is not None else {"why_not": both("serve_no_explanation")}
        out.append(answer)
    return out


def predictions(task: Task, found: Predictions) -> list[dict[str, Any]]:
    """What is predicted for each row, in numbers and in words."""
    if isinstance(task, Multilabel):
        labels = [predictions(label, found.of_label(label.target)) for label in task.labels]
        return [{"kind": "multilabel", "labels": list(row)} for row in zip(*labels, strict=True)]
    rows = found.frame.to_dicts()
    if isinstance(task, Classify):
        return [_classified(task, row) for row in rows]
    return [_number(task, row["value"]) for row in rows]


def _number(task: Regress, value: float) -> dict[str, Any]:
    return {"kind": "regress", "target": task.target, "value": value, "words": both("serve_predicted", value=value)}


def _classified(task: Classify, row: Mapping[str, Any]) -> dict[str, Any]:
    call = str(row["call"])
    out: dict[str, Any] = {
        "kind": "classify",
        "target": task.target,
        "probabilities": {label: row[f"p:{label}"] for label in task.classes},
        "call": call,
    }
    if not task.binary:
        return {**out, "words": both("serve_likeliest", label=call)}
    event = task.classes[-1]
    verdict = "flagged" if call == event else "not_flagged"
    return {
        **out,
        "event": event,
        "probability": row[f"p:{event}"],
        "threshold": row["threshold"],
        "verdict": verdict,
        "words": both(f"serve_{verdict}", event=event_name(task)),
    }


def event_name(task: Classify) -> str:
    """What the positive class is called: its label, with the target where the label alone says nothing."""
    label = task.classes[-1]
    return task.target if label.lower() in ("1", "yes", "true", "y") else f"{task.target} = {label}"


def _outside(served: Served, raw: Cohort, cleaned: Cohort) -> Mapping[str, Sequence[dict[str, Any]]]:
    """Row id → inputs that leave what training showed, or what is plausible at all, in words."""
    out: dict[str, list[dict[str, Any]]] = {}
    schema = served.opened.schema
    observed = served.pipeline.fitted.observed
    for item in schema.inputs:
        if item.kind != "number" or (item.low is None and item.high is None):
            continue
        least, most = (-math.inf if item.low is None else item.low), (math.inf if item.high is None else item.high)
        values = raw[item.name].to_numpy()
        for row in np.flatnonzero((values < least) | (values > most)):
            words = both("serve_outside_implausible", field=item.name, low=item.low, high=item.high)
            entry = {"field": item.name, "why": "implausible", "low": item.low, "high": item.high, "words": words}
            out.setdefault(cleaned["row_id"][int(row)], []).append(entry)
    low: float | None
    high: float | None
    for row_id, name, why in served.pipeline.outside(cleaned).iter_rows():
        seen = observed[name]
        low, high = seen.get("low"), seen.get("high")
        if name in schema and schema[name].kind == "time":
            low, high = None, None
        words = both(f"serve_outside_{why}", field=name, low=low, high=high)
        if why in ("below", "above") and low is None:
            words = both("serve_outside_unseen", field=name)
        out.setdefault(row_id, []).append({"field": name, "why": why, "low": low, "high": high, "words": words})
    return out
