"""Figures of an explanation: importance of fields, dependence on a field's value, contributions to single rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.checks.assemble import column
from bedside.checks.explain.contributions import Contributions
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Figure

FEWEST = 5  # rows behind every point, so that none is a patient's
BINS = 20


def importance(estimates: Sequence[Estimate]) -> Figure:
    """A bar a field with its interval, in the order given."""
    known = [item for item in estimates if item.value is not None]
    columns = {
        "field": [str((item.at or {})["field"]) for item in known],
        "importance": column([item.value or 0.0 for item in known]),
        "low": column([item.low or 0.0 for item in known]),
        "high": column([item.high or 0.0 for item in known]),
    }
    return Figure(
        "importance_of_fields", "bar", columns, {"x": "importance", "y": "field", "low": "low", "high": "high"}
    )


def dependence(found: Contributions, cohort: Cohort, name: str) -> Figure | None:
    """Mean contribution with its 5–95 % range over the values of a field: bins of a number, levels otherwise.

    Bins and levels of fewer than 5 rows are left out; None when nothing is left, or the name is a pair's.
    """
    if name not in cohort.schema:
        return None
    contribution = found.values[:, found.fields.index(name)]
    item = cohort.schema[name]
    label = name if name not in ("contribution", "low", "high") else f"{name} "
    if item.kind == "number":
        x = cohort[name].fill_null(float("nan")).to_numpy()
        groups = [(float(x[chosen].mean()), contribution[chosen]) for chosen in _bins(x)]
        kind = "band"
    elif item.kind in ("category", "ordinal", "boolean"):
        text = cohort[name].cast(pl.String).to_numpy()
        levels = sorted({level for level in text if level is not None})
        declared = [level for level in item.levels or () if level in levels]
        order = [*declared, *(level for level in levels if level not in declared)]
        groups = [(level, contribution[text == level]) for level in order if (text == level).sum() >= FEWEST]
        kind = "bar"
    else:
        return None
    if not groups:
        return None
    limits = [np.quantile(values, [0.05, 0.95]) for _, values in groups]
    columns = {
        label: column([x for x, _ in groups]),
        "contribution": column([float(values.mean()) for _, values in groups]),
        "low": column([float(low) for low, _ in limits]),
        "high": column([float(high) for _, high in limits]),
    }
    return Figure("dependence", kind, columns, {"x": label, "y": "contribution", "low": "low", "high": "high"})


def _bins(x: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """Masks of at most 20 bins of equal mass, missing values left out, each of at least 5 rows."""
    known = x[~np.isnan(x)]
    if len(known) < FEWEST:
        return []
    count = max(1, min(BINS, len(known) // FEWEST))
    edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)[1:-1], method="inverted_cdf"))
    bin_of = np.where(np.isnan(x), -1, np.searchsorted(edges, x, side="left"))
    masks = [bin_of == code for code in range(len(edges) + 1)]
    return [mask for mask in masks if mask.sum() >= FEWEST]


def single_rows(found: Contributions, positions: NDArray[np.int64], rows: int, shown: int) -> Figure:
    """The `shown` largest contributions to each of `rows` rows spread over the score, the rest in one line.

    `row` is the position among the predictions, never an id.
    """
    score = found.values.sum(axis=1)
    order = np.argsort(score, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(np.int64))]
    table: dict[str, list[str | int | float | None]] = {"row": [], "field": [], "contribution": []}

    def put(row: int, field: str, value: float) -> None:
        for name, cell in (("row", row), ("field", field), ("contribution", float(f"{value:.12g}"))):
            table[name].append(cell)

    for i in chosen:
        mine = found.values[i]
        top = np.argsort(-np.abs(mine), kind="stable")[:shown]
        put(int(positions[i]), "base", found.base)
        for j in top:
            put(int(positions[i]), found.fields[j], float(mine[j]))
        if len(mine) > shown:
            put(int(positions[i]), "other_fields", float(mine.sum() - mine[top].sum()))
    axes = {"x": "contribution", "y": "field", "series": "row"}
    return Figure("row_explanations", "table", table, axes)
