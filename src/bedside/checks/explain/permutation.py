"""Permutation importance: how much worse any model becomes when one field is shuffled among the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bedside.checks.rows import Rows, known_rows
from bedside.cohort.cohort import Cohort
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.ranking import auroc_influence, ranking_of
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task


def permutation_importance(
    model: Model, cohort: Cohort, task: Task, fields: Sequence[str], *, repeats: int, seed: int, level: float
) -> list[Interval]:
    """For each field the mean loss of performance over `repeats` shuffles, with Student's interval over them.

    Performance is the AUROC of two classes, minus the log loss of more, minus the root mean squared error of a number.
    Rows are taken in the order of their ids. The interval speaks of the shuffles, not of other patients. Source:
    Breiman 2001; Fisher, Rudin and Dominici 2019. Raises ValueError for one class or fewer than two repeats.
    """
    from scipy.special import stdtrit

    if repeats < 2:
        raise ValueError("an interval needs at least two repeats")
    cohort = cohort.take(cohort.frame["row_id"].arg_sort().to_numpy().astype(np.int64))
    whole = _performance(model.predict(cohort), cohort, task)
    rng = np.random.default_rng(seed)
    orders = [
        rng.permutation(len(cohort)) for _ in range(repeats)
    ]  # the same for every field: their order is no matter
    quantile = float(stdtrit(repeats - 1, 0.5 + level / 2))
    out = []
    for name in fields:
        losses = np.array(
            [whole - _performance(model.predict(_shuffled(cohort, name, o)), cohort, task) for o in orders]
        )
        value, se = float(losses.mean()), float(losses.std(ddof=1)) / np.sqrt(repeats)
        low, high = value - quantile * se, value + quantile * se
        out.append(Interval(value, low, high, float(se), "repeats_t", len(cohort), cohort.n_subjects))
    return out


def _shuffled(cohort: Cohort, name: str, order: NDArray[np.int64]) -> Cohort:
    return cohort.with_columns({name: cohort[name].gather(order)})


def _performance(predictions: Predictions, cohort: Cohort, task: Task) -> float:
    rows = known_rows(predictions, cohort, task)
    if isinstance(task, Classify) and task.binary:
        return auroc_influence(ranking_of(rows.event, rows.score, None, rows.weights))[0]
    if isinstance(task, Classify):
        p = rows.of(predictions.probabilities)[np.arange(len(rows)), rows.truth.astype(np.int64)]
        return float(np.average(np.log(np.maximum(p, np.finfo(np.float64).eps)), weights=rows.weights))
    return -_rmse(rows)


def _rmse(rows: Rows) -> float:
    return float(np.sqrt(np.average((rows.score - rows.truth) ** 2, weights=rows.weights)))
