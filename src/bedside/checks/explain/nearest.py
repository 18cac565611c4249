"""Nearest cases: the training rows most like a row, by a distance over all its inputs."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError

BLOCK = 256


def nearest(train: Cohort, rows: Cohort, k: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions in `train` (rows, k) and distances (rows, k), nearest first, ties in train's order.

    The heterogeneous Euclidean distance over the inputs of `train`: numbers and times in standard deviations of
    `train`, categories and booleans 0 or 1, 1 where one of the two is missing. Source: Wilson and Martinez 1997.
    Training rows are patients: what this returns stays in the site's store. Raises DataError for too few rows or no
    usable input.
    """
    if not 1 <= k <= len(train):
        raise DataError(f"{k} nearest of {len(train)} training rows", "choose k between 1 and the number of rows")
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
