"""Decision curves and interventions avoided, as tidy tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from bedside.checks.assemble import column
from bedside.checks.rows import Floats, Rows
from bedside.evidence.estimate import Figure
from bedside.evidence.metrics.utility import interventions_avoided, net_benefit


def decision_figures(
    rows: Rows, others: dict[str, Floats], grid: Floats, prevalence: float | None, level: float
) -> list[Figure]:
    """The decision curves over thresholds, and the interventions avoided; none when no interval can be known."""
    shared = {"prevalence": prevalence, "level": level, "subject": rows.subjects, "weights": rows.weights}
    try:
        return [_decision_curve(rows, others, grid, shared), _avoided(rows, grid, shared)]
    except ValueError:
        return []


def _decision_curve(rows: Rows, others: dict[str, Floats], grid: Floats, shared: dict[str, Any]) -> Figure:
    y = rows.event
    curve = net_benefit(y, rows.score, grid, **shared)
    blank = np.full(len(grid), np.nan)
    lines = [("model", curve.model, curve.low, curve.high)]
    lines += [(name, net_benefit(y, p, grid, **shared).model, blank, blank) for name, p in others.items()]
    lines += [("treat_all", curve.all, blank, blank), ("treat_none", curve.none, blank, blank)]
    columns = {
        "threshold": column(np.tile(grid, len(lines))),
        "net_benefit": column(np.concatenate([line[1] for line in lines])),
        "low": column(np.concatenate([line[2] for line in lines])),
        "high": column(np.concatenate([line[3] for line in lines])),
        "series": [line[0] for line in lines for _ in grid],
    }
    axes = {"x": "threshold", "y": "net_benefit", "low": "low", "high": "high", "series": "series"}
    return Figure("decision_curve", "band", columns, axes)


def _avoided(rows: Rows, grid: Floats, shared: dict[str, Any]) -> Figure:
    curve = interventions_avoided(rows.event, rows.score, grid, **shared)
    columns = {
        "threshold": column(grid),
        "interventions_avoided": column(curve.value),
        "low": column(curve.low),
        "high": column(curve.high),
    }
    axes = {"x": "threshold", "y": "interventions_avoided", "low": "low", "high": "high"}
    return Figure("interventions_avoided_curve", "band", columns, axes)
