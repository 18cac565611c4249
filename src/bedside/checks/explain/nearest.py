"""Nearest cases: the training rows most like a row, by a distance over all its inputs, or as a network sees images.

Training rows are patients: what these return stays in the site's store (DESIGN §4.6), and no evidence, report or
release holds any of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, PlanError

BLOCK = 256


def nearest(train: Cohort, rows: Cohort, k: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions in `train` (rows, k) and distances (rows, k), nearest first, ties in train's order.

    The heterogeneous Euclidean distance over the inputs of `train`: numbers and times in standard deviations of
    `train`, categories and booleans 0 or 1, 1 where one of the two is missing. Source: Wilson and Martinez 1997.
    Raises DataError for too few rows or no usable input.
    """
    _refuse_k(k, train)
    numbers = [item.name for item in train.schema.inputs if item.kind in ("number", "time")]
    levels = [item.name for item in train.schema.inputs if item.kind in ("category", "ordinal", "boolean")]
    if not numbers and not levels:
        raise DataError("no input is a number, time, category, ordinal or boolean", "distances need one")
    base, centre, spread = _numbers(train, numbers)
    query = (_numbers(rows, numbers)[0] - centre) / spread
    base = (base - centre) / spread
    codes = {name: _codes(train[name], rows[name]) for name in levels}
    positions = np.empty((len(rows), k), dtype=np.int64)
    distances = np.empty((len(rows), k))
    for start in range(0, len(rows), BLOCK):
        block = slice(start, min(start + BLOCK, len(rows)))
        square = np.zeros((block.stop - start, len(train)))
        for i in range(len(numbers)):
            gap = (query[block, i, None] - base[None, :, i]) ** 2
            square += np.where(np.isnan(gap), 1.0, gap)
        for of_train, of_rows in codes.values():
            same = (of_rows[block, None] == of_train[None, :]) & (of_train[None, :] >= 0)
            square += ~same
        order = np.argsort(square, axis=1, kind="stable")[:, :k]
        positions[block] = order
        distances[block] = np.sqrt(np.take_along_axis(square, order, axis=1))
    return positions, distances


def nearest_images(
    model: Any, train: Cohort, rows: Cohort, k: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions in `train` (rows, k) and distances (rows, k), nearest first, ties in train's order.

    The distance is 1 − the cosine of two `embeddings`: 0 for images that the network cannot tell apart, 1 for images
    that share no feature. Source: Papernot and McDaniel 2018. Raises DataError for too few rows, PlanError for a model
    that is no network.
    """
    _refuse_k(k, train)
    base, query = (_unit(embeddings(model, cohort)) for cohort in (train, rows))
    distance = np.clip(1 - query @ base.T, 0.0, 2.0)
    order = np.argsort(np.round(distance, 12), axis=1, kind="stable")[:, :k]
    return order.astype(np.int64), np.take_along_axis(distance, order, axis=1)


def embeddings(model: Any, cohort: Cohort) -> NDArray[np.float64]:
    """The network's last map of each image, averaged over its places: (rows, features). PlanError without a network."""
    from bedside.checks.explain.contributions import inside
    from bedside.checks.explain.saliency import activations
    from bedside.models.imaging.network import as_network
    from bedside.models.seeded import with_threads

    found, prepared = inside(model, cohort)
    network = as_network(found)
    if network is None:
        raise PlanError("the model is no network on images, and has no embedding", "use `nearest` for tables")
    out = []
    with with_threads(1):
        for start in range(0, len(prepared), BLOCK):
            x = network.inputs(prepared.take(np.arange(start, min(start + BLOCK, len(prepared)))))
            out.append(activations(network.network(), network.target_layer(), x).mean(axis=(2, 3), dtype=np.float64))
    return np.concatenate(out)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; a row of zeros stays, and is like nothing."""
    size = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, size, out=np.zeros_like(values), where=size > 0)


def _refuse_k(k: int, train: Cohort) -> None:
    if not 1 <= k <= len(train):
        raise DataError(f"{k} nearest of {len(train)} training rows", "choose k between 1 and the number of rows")


def _numbers(cohort: Cohort, names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Values (rows, fields) with NaN where missing, and each field's mean and standard deviation."""
    columns = [cohort[name].to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names]
    values = np.stack(columns, axis=1) if columns else np.empty((len(cohort), 0))
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, values, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (values - centre) ** 2, 0.0).sum(axis=0) / count)
    return values, centre, np.where(spread > 0, spread, 1.0)


def _codes(of_train: pl.Series, of_rows: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Levels as integers shared by both columns, −1 where missing."""
    both = pl.concat([of_train.cast(pl.String), of_rows.cast(pl.String)])
    levels = both.drop_nulls().unique().sort()
    index = {level: i for i, level in enumerate(levels.to_list())}
    codes = both.replace_strict(index, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
    return codes[: len(of_train)], codes[len(of_train) :]
