"""The actions `predict` and `pool`: predictions for test parts, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from bedside.errors import PlanError
from bedside.models.predictions import concat
from bedside.plan.actions.bench import Bench
from bedside.plan.actions.splitting import get_split
from bedside.plan.memo.artifacts import get_predictions, put_predictions


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
