"""Chained ridge regressions: iterative imputation whose every regression is stored and replayed.

Columns are standardised by mean and SD of their present values and missing cells start at 0 (the mean). In each of a
fixed number of rounds, each incomplete column in turn (fewest missing first) is regressed on all others where it is
present, minimising ‖y − a − Xb‖² + λ‖b‖², and its missing cells take the prediction. A new row goes through the very
same regressions in the same order. After van Buuren & Groothuis-Oudshoorn 2011 (MICE), without the random draw.
A column complete in train has no regression: its missing cells in new rows stay at the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.errors import PlanError

MAX_COLUMNS = 500

Floats = NDArray[np.float64]


def fit_chained(matrix: Floats, *, rounds: int, ridge: float) -> dict[str, Floats | NDArray[np.int64]]:
    """Learn the chain from a matrix n × k with NaN where missing and no column wholly so.

    Returns `centre`, `width` (k), `order` (m incomplete columns) and `coefficients` (rounds × m × (k + 1); intercept
    last, 0 for the column itself). Raises PlanError beyond 500 columns.
    """
    k = matrix.shape[1]
    if k > MAX_COLUMNS:
        raise PlanError(
            f"iterative imputation over {k} number fields", f"name at most {MAX_COLUMNS} in `fields`, or use median"
        )
    missing = np.isnan(matrix)
    centre = np.nanmean(matrix, axis=0) if k else np.empty(0)
    width = np.nanstd(matrix, axis=0) if k else np.empty(0)
    width = np.where(width > 0, width, 1.0)
    counts = missing.sum(axis=0)
    order = np.array([j for j in np.argsort(counts, kind="stable") if counts[j] > 0], dtype=np.int64)
    current = np.where(missing, 0.0, (matrix - centre) / width)
    coefficients = np.zeros((rounds, len(order), k + 1))
    for round_ in coefficients:
        for row, j in zip(round_, order, strict=True):
            others = np.delete(np.arange(k), j)
            present = ~missing[:, j]
            row[others], row[-1] = _ridge(current[np.ix_(present, others)], current[present, j], ridge)
            current[~present, j] = current[~present] @ row[:-1] + row[-1]
    return {"centre": centre, "width": width, "order": order, "coefficients": coefficients}


def replay_chained(matrix: Floats, chain: dict[str, Any]) -> Floats:
    """A matrix rows × k with its NaN filled by a learnt chain; present cells are untouched."""
    missing = np.isnan(matrix)
    current = np.where(missing, 0.0, (matrix - chain["centre"]) / chain["width"])
    for round_ in chain["coefficients"]:
        for row, j in zip(round_, chain["order"], strict=True):
            cells = missing[:, j]
            current[cells, j] = current[cells] @ row[:-1] + row[-1]
    return np.where(missing, current * chain["width"] + chain["centre"], matrix)


def _ridge(x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
    """Slopes and intercept of ridge regression; the intercept is not penalised."""
    x_mean, y_mean = x.mean(axis=0), y.mean()
    centred = x - x_mean
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, centred.T @ (y - y_mean))
    return slopes, float(y_mean - x_mean @ slopes)
