"""Shuffled labels: a procedure that finds something where there is nothing looks where it must not."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl

from bedside.checks.assemble import attempt, finding, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Ints, known_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence, Finding
from bedside.evidence.metrics.ranking import auroc
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

LEVEL = 0.999  # a sound procedure is called unsound once in a thousand times


class ShuffledLabels:
    """The procedure refitted on half of the subjects with their targets shuffled, tried on the other half's.

    Targets move between subjects in whole runs, so that they stay about as clustered as they were. The AUROC's 99.9 %
    interval must hold 0.5; if not, the finding stops.
    """

    name: ClassVar[str] = "shuffled_labels"
    needs: ClassVar[Needs] = "refit"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = ("auroc_shuffled_labels",)
    looks_at: ClassVar[LooksAt] = "inputs"

    def __call__(
        self,
        predictions: Predictions | None,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """The AUROC and a finding. Raises PlanError without `fit`."""
        if fit is None:
            raise PlanError(
                "shuffled_labels needs to fit the procedure again", "it cannot be asked of predictions alone"
            )
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        cohort = cohort.take(np.flatnonzero(task.truth(cohort) >= 0))
        rng = np.random.default_rng(seed)
        shuffled = with_shuffled_target(cohort, task.target, rng)
        side = rng.permutation(cohort.n_subjects)[cohort.subject_codes] % 2
        learner, other = (shuffled.take(np.flatnonzero(side == half)) for half in (0, 1))
        rows = known_rows(fit(learner, seed).predict(other), other, task)
        more: dict[str, Any] = {"n_events": int(rows.event.sum()), "otherwise": rows.counts()}
        found = attempt(
            "auroc_shuffled_labels",
            lambda: auroc(rows.event, rows.score, level=LEVEL, subject=rows.subjects, weights=rows.weights),
            LEVEL,
            **more,
        )
        said: list[Finding] = []
        if found.low is not None and found.high is not None:
            sound = found.low <= 0.5 <= found.high
            key, severity = ("shuffled_labels_sound", "info") if sound else ("shuffled_labels_signal", "stop")
            said.append(finding(key, severity, value=found.value, low=found.low, high=found.high))
        return Evidence(self.name, (found,), (), tuple(said))


def with_shuffled_target(cohort: Cohort, target: str, rng: np.random.Generator) -> Cohort:
    """The cohort with its targets given to other subjects: the subjects' blocks of targets, laid end to end in a drawn
    order, are dealt out again over the rows sorted by subject."""
    codes: Ints = cohort.subject_codes
    by_subject = np.argsort(codes, kind="stable")
    rank = rng.permutation(cohort.n_subjects)
    source = np.argsort(rank[codes], kind="stable")
    order = np.empty(len(codes), dtype=np.int64)
    order[by_subject] = source
    return cohort.with_columns({target: cohort[target].gather(pl.Series(order))})
