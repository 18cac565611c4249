"""Shortcuts: how well baselines that cannot see the finding tell it, and whether the model's score follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import attempt, finding, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Rows, known_rows, same_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.ranking import auroc
from bedside.evidence.metrics.regression import spearman
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

TELLS = 0.6  # an AUROC wholly above this is worth a word
FOLLOWS = 0.2  # so is a rank correlation wholly above this


class Shortcuts:
    """For each of `baselines` (all of the plan's when not given), which are to be blind to what the model should look
    at (age, site and machine beside an image; the image's mere statistics):

    `shortcut_auroc`, how well it tells the event (DeLong by subject): what the data give away. `shortcut_reliance`, the
    rank correlation of the model's score with the baseline's among rows *without* the event, where there is nothing to
    find: what the model makes of it. A model that looks at the finding alone has a score that knows nothing of the
    machine once the class is known (Veitch 2021, counterfactual invariance).
    """

    name: ClassVar[str] = "shortcuts"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("shortcut_auroc", "shortcut_reliance")
    looks_at: ClassVar[LooksAt] = "outcome"
    main: ClassVar[str] = "baselines"

    def __init__(self, baselines: Sequence[str] | str | None = None) -> None:
        self.baselines = [baselines] if isinstance(baselines, str) else baselines

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
        """Two estimates a baseline (`at` says which), findings. Raises PlanError for a baseline that is not there."""
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        rows = known_rows(predictions, cohort, task)
        others = same_rows(predictions, reference)
        unknown = [name for name in self.baselines or () if name not in others]
        if unknown:
            raise PlanError(f"shortcuts: no baseline is called {unknown}", f"known: {', '.join(others) or 'none'}")
        estimates: list[Estimate] = []
        for name in others if self.baselines is None else self.baselines:
            estimates += _of_baseline(rows, others[name], name, level)
        said = [finding("baseline_absent")] if not estimates else _said(estimates)
        return Evidence(self.name, tuple(estimates), (), (*rows.findings, *said))


def _of_baseline(rows: Rows, other: Predictions, name: str, level: float) -> list[Estimate]:
    score = other.score[rows.positions]
    without = ~rows.event
    of_all: dict[str, Any] = {"at": {"baseline": name}, "n_events": int(np.count_nonzero(rows.event))}
    return [
        attempt(
            "shortcut_auroc",
            lambda: auroc(rows.event, score, level=level, subject=rows.subjects, weights=rows.weights),
            level,
            otherwise=rows.counts(),
            **of_all,
        ),
        attempt(
            "shortcut_reliance",
            lambda: spearman(rows.score[without], score[without], level=level, subject=rows.subjects[without]),
            level,
            otherwise=rows.counts(without),
            at={"baseline": name},
        ),
    ]


def _said(estimates: Sequence[Estimate]) -> list[Finding]:
    out = []
    for metric, limit, key in (
        ("shortcut_auroc", TELLS, "shortcut_tells"),
        ("shortcut_reliance", FOLLOWS, "shortcut_used"),
    ):
        for item in estimates:
            if item.metric == metric and item.low is not None and item.low > limit:
                values = {"baseline": (item.at or {})["baseline"], "value": item.value, "low": item.low}
                out.append(finding(key, "caution", **values, high=item.high))
    return out
