"""Explanation beside an answer, where it takes milliseconds and neither torch nor shap.

Additive models (linear, EBM) and LightGBM say what each field added to the score before calibration; a network in
ONNX says where in the image it looked. Everything else says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bedside.checks.explain.contributions import Contributions, uncentred
from bedside.cohort.cohort import Cohort
from bedside.models.protocol import HasTerms
from bedside.models.tabular.lightgbm import LightGBM
from bedside.models.task import Classify, Task


def typical(pipeline: Any, golden: Cohort, task: Task) -> Mapping[str, float] | None:
    """What each field adds on average over the golden rows, which are drawn from training's marginals, so that a row's
    contribution reads as a difference from the usual; None where nothing adds up."""
    found = _additive(pipeline, golden, task)
    if found is None:
        return None
    return dict(zip(found.fields, found.values.mean(axis=0).tolist(), strict=True))


def contributions(
    pipeline: Any, cleaned: Cohort, task: Task, usual: Mapping[str, float] | None
) -> list[dict[str, Any]] | None:
    """For each row: method, scale, base, and the fields' contributions, largest first; base + Σ is the score before
    calibration on that scale. None where the model has none that are exact and quick."""
    if usual is None:
        return None
    found = _additive(pipeline, cleaned, task)
    if found is None:
        return None
    centre = np.array([usual[name] for name in found.fields])
    base = found.base + float(centre.sum())
    return [
        {
            "method": found.method,
            "scale": found.scale,
            "base": base,
            "contributions": [
                {"field": found.fields[i], "value": float(row[i])} for i in np.argsort(-np.abs(row), kind="stable")
            ],
        }
        for row in found.values - centre
    ]


def _additive(pipeline: Any, cohort: Cohort, task: Task) -> Contributions | None:
    if not isinstance(pipeline.model, HasTerms | LightGBM):
        return None
    return uncentred(pipeline, cohort, task)


def heat_maps(pipeline: Any, cleaned: Cohort, task: Task) -> list[dict[str, Any]] | None:
    """For each row where in the image the network saw what speaks for the event (the likeliest class where there are
    more than two): values in 0..1 of shape (h, w), and `peak`, the value that became 1. None without such a network."""
    model = pipeline.model
    if not isinstance(task, Classify) or not getattr(model, "has_maps", False):
        return None
    seen = pipeline.prepare(cleaned)
    if task.binary:
        classes = np.full(len(cleaned), 1, dtype=np.int64)
    else:
        classes = pipeline.predict(cleaned).calls
    out = []
    for values, index in zip(model.heat_maps(seen, classes), classes, strict=True):
        peak = float(values.max())
        scaled = values / peak if peak > 0 else values
        out.append(
            {
                "method": "grad_cam",
                "class": task.classes[int(index)],
                "peak": peak,
                "map": [[round(float(cell), 4) for cell in line] for line in scaled],
            }
        )
    return out
