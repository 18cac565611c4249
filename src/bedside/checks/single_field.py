"""How well each field alone tells the target: the strongest readings with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log
from typing import Any, Literal

import numpy as np
import polars as pl

from bedside.checks.assemble import estimate
from bedside.checks.readings import RANKED, Reading, readings
from bedside.checks.rows import Bools, Ints, distinct
from bedside.cohort.cohort import Cohort, first_appearance
from bedside.cohort.schema import Field
from bedside.evidence.estimate import Estimate
from bedside.evidence.metrics.ranking import auroc
from bedside.evidence.metrics.regression import spearman
from bedside.models.task import Classify, Regress

AUROC = {
    "value": "single_field_auroc",
    "level": "single_level_auroc",
    "missing": "missing_pattern_auroc",
}
COINCIDENCE = log(1e-6)
WORTH = 0.95  # a weaker reading has no interval above it, so it is not computed but for those shown


@dataclass(frozen=True)
class Alone:
    """The strength of one field alone. `exact`: a yes/no pattern that meets the class exactly, beyond chance."""

    estimate: Estimate
    pattern: Literal["value", "level", "missing", "rank"]
    exact: bool = False


def candidates(cohort: Cohort) -> list[Field]:
    """The inputs that are not the target itself."""
    return [item for item in cohort.schema.inputs if "target" not in item.roles]


def class_alone(cohort: Cohort, task: Classify, level: float, shown: int) -> list[Alone]:
    """AUROC (≥ 0.5) of each field's readings against the class it tells best, strongest first: `shown` at least."""
    truth = task.truth(cohort)
    rows = np.flatnonzero(truth >= 0)
    frame, truth = cohort.frame[rows], truth[rows]
    subjects = first_appearance(frame["subject"])
    best: dict[tuple[str, str], tuple[Reading, int]] = {}
    for index in [1] if task.binary else range(len(task.classes)):
        event = truth == index
        if event.all() or not event.any():
            continue
        for item in readings(frame, candidates(cohort), event):
            key = (item.field, item.pattern)
            if key not in best or item.auroc > best[key][0].auroc:
                best[key] = (item, index)
    ranked = sorted(best.values(), key=lambda pair: (-pair[0].auroc, pair[0].field, pair[0].pattern))
    out = []
    for i, (item, index) in enumerate(ranked):
        if i >= shown and item.auroc < WORTH:
            break
        event = truth == index
        found = _estimate(item, frame[item.field], event, subjects, task.classes[index], level)
        if found is not None:
            exact = item.exact and _chance(event, subjects) + log(len(ranked)) < COINCIDENCE
            out.append(Alone(found, item.pattern, exact))
    return out


def _estimate(
    item: Reading, column: pl.Series, event: Bools, subjects: Ints, label: str, level: float
) -> Estimate | None:
    there, score = item.mask_and_score(column)
    try:
        found = auroc(event[there], score, level=level, subject=subjects[there])
    except ValueError:
        return None  # one subject with the event, or without: nothing can be said of this field
    at = {"field": item.field, "class": label}
    if item.level is not None:
        at["level"] = item.level
    return estimate(AUROC[item.pattern], found, level, n_events=int(event[there].sum()), at=at)


def _chance(event: Bools, subjects: Ints) -> float:
    """Log of the chance that a pattern meets the subjects with the event exactly: 2 / C(subjects, with the event)."""
    n, k = (distinct(codes) for codes in (subjects, subjects[event]))
    return log(2) + lgamma(k + 1) + lgamma(n - k + 1) - lgamma(n + 1)


def number_alone(cohort: Cohort, task: Regress, level: float, shown: int) -> list[Alone]:
    """Spearman's correlation of each ordered field with a number, strongest first: `shown` at least."""
    truth = task.truth(cohort)
    rows = np.flatnonzero(np.isfinite(truth))
    frame, truth = cohort.frame[rows], truth[rows]
    subjects = first_appearance(frame["subject"])
    ranked = _screened(frame, candidates(cohort), truth)
    out = []
    for i, (strength, name) in enumerate(ranked):
        if i >= shown and strength < WORTH:
            break
        there = frame[name].is_not_null().to_numpy()
        x = frame[name].drop_nulls().to_physical().cast(pl.Float64).to_numpy()
        if strength >= 1 - 1e-12 and int(there.sum()) > 2:  # the same order: no interval, and no need of one
            counts: dict[str, Any] = {"n_rows": int(there.sum()), "n_subjects": distinct(subjects[there])}
            sign = 1.0 if np.corrcoef(x, truth[there])[0, 1] > 0 else -1.0
            same = Estimate("single_field_spearman", sign, sign, sign, level, at={"field": name}, **counts)
            out.append(Alone(same, "rank", counts["n_subjects"] >= 10))
            continue
        try:
            found = spearman(truth[there], x, level=level, subject=subjects[there])
        except ValueError:
            continue
        out.append(Alone(estimate("single_field_spearman", found, level, at={"field": name}), "rank"))
    return out


def _screened(frame: pl.DataFrame, fields: Sequence[Field], truth: np.ndarray) -> list[tuple[float, str]]:
    """(|rank correlation|, field) of each ordered field, strongest first."""
    target = pl.lit(pl.Series(truth))
    out = []
    for item in fields:
        if item.kind in RANKED:
            x = pl.col(item.name).to_physical().cast(pl.Float64)
            y = pl.when(x.is_not_null()).then(target)
            value = frame.select(pl.corr(x.rank(), y.rank())).item()
            if value is not None and np.isfinite(value):
                out.append((abs(float(value)), item.name))
    return sorted(out, key=lambda pair: (-pair[0], pair[1]))
