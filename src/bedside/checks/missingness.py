"""Missingness: how much of each field is missing, whether that tells the outcome, and whether it costs performance."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import FEWEST_EVENTS, attempt, exact, finding
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Bools, Rows, known_rows
from bedside.checks.subgroup_metrics import enough, too_few
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.multiplicity import family_level
from bedside.evidence.metrics.ranking import auroc
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

MUCH = 0.5


class Missingness:
    """The share missing of each input (and by class), counted; AUROC (or mean absolute error) with and without it.

    Shares of the `shown` fields with most missing are reported, all others in the totals. A field whose being missing
    tells the outcome (AUROC of the pattern, Bonferroni interval away from 0.5) is named.
    """

    name: ClassVar[str] = "missingness"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    metrics: ClassVar[tuple[str, ...]] = (
        "missing_share", "incomplete_rows", "auroc_complete_rows", "auroc_incomplete_rows",
        "mae_complete_rows", "mae_incomplete_rows",
    )  # fmt: skip
    looks_at: ClassVar[LooksAt] = "inputs"

    def __init__(self, shown: int = 20) -> None:
        self.shown = shown

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Shares, performance by completeness, and findings. Raises DataError when rows differ."""
        rows = known_rows(predictions, cohort, task)
        names = [item.name for item in cohort.schema.inputs if "target" not in item.roles]
        frame = cohort.frame[rows.positions]
        counts = dict(zip(names, frame.select(names).null_count().row(0), strict=True)) if names else {}
        holed = sorted((name for name in names if counts[name]), key=lambda name: (-counts[name], name))
        if not holed:
            return Evidence(self.name, findings=(*rows.findings, finding("missing_none", n=len(names))))
        absent = {name: frame[name].is_null().to_numpy() for name in holed}
        some = np.logical_or.reduce(list(absent.values()))
        estimates = [exact("incomplete_rows", some.mean(), **rows.counts())]
        columns: dict[str, list[Any]] = {"field": [], "share": [], "outcome": []}
        for name in holed[: self.shown]:
            for label, members in _classes(rows, task):
                share = float(absent[name][members].mean())
                at = {"field": name} if label is None else {"field": name, "class": label}
                estimates.append(exact("missing_share", share, at=at, **rows.counts(members)))
                columns["field"].append(name)
                columns["share"].append(float(f"{share:.6g}"))
                columns["outcome"].append("overall" if label is None else label)
        estimates += _performance(rows, some, task, level)
        findings = [
            finding("missing_much", "caution", field=name, share=counts[name] / len(rows))
            for name in holed
            if counts[name] >= MUCH * len(rows)
        ]
        findings += _informative(rows, absent, task, level)
        figure = Figure("missing_by_field", "bar", columns, {"x": "share", "y": "field", "series": "outcome"})
        return Evidence(self.name, tuple(estimates), (figure,), (*rows.findings, *findings))


def _classes(rows: Rows, task: Task) -> list[tuple[str | None, Bools]]:
    """All rows, then those of each class."""
    out: list[tuple[str | None, Bools]] = [(None, np.ones(len(rows), dtype=bool))]
    if isinstance(task, Classify):
        out += [(label, m) for i, label in enumerate(task.classes) if (m := np.asarray(rows.truth == i)).any()]
    return out


def _performance(rows: Rows, some: Bools, task: Task, level: float) -> list[Estimate]:
    """AUROC of two classes, or mean absolute error of a number, of the rows with nothing and with something missing."""
    if isinstance(task, Classify) and not task.binary:
        return []
    out = []
    for suffix, members in (("complete_rows", ~some), ("incomplete_rows", some)):
        metric = f"{'auroc' if isinstance(task, Classify) else 'mae'}_{suffix}"
        mine = rows.take(members)
        more: dict[str, Any] = {"unit": None} if isinstance(task, Classify) else {"unit": task.unit}
        if isinstance(task, Classify):
            more["n_events"] = int(np.count_nonzero(mine.event))
        if not enough(rows, task, members, FEWEST_EVENTS):
            out.append(Estimate(metric, None, why_not=too_few(task), **mine.counts(), **more))
            continue
        shared: dict[str, Any] = {"level": level, "subject": mine.subjects, "weights": mine.weights}
        if isinstance(task, Classify):
            found = attempt(
                metric, lambda m=mine, s=shared: auroc(m.event, m.score, **s), level, otherwise=mine.counts(), **more
            )
        else:
            found = attempt(
                metric,
                lambda m=mine, s=shared: mean(np.abs(m.score - m.truth), **s),
                level,
                otherwise=mine.counts(),
                **more,
            )
        out.append(found)
    return out


def _informative(rows: Rows, absent: dict[str, Bools], task: Task, level: float) -> list[Finding]:
    """Fields whose being missing tells the outcome."""
    if not isinstance(task, Classify) or not task.binary:
        return []
    of_each = family_level(level, len(absent))
    out = []
    for name, missing in absent.items():
        try:
            found = auroc(rows.event, missing.astype(np.float64), level=of_each, subject=rows.subjects, scale="plain")
        except ValueError:
            continue
        if not found.low <= 0.5 <= found.high:
            out.append(finding("missing_informative", "caution", field=name, auroc=found.value))
    return out
