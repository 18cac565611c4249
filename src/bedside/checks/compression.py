"""Compression: what it cost to make a network smaller, as paired differences on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import FEWEST_EVENTS, attempt, exact
from bedside.checks.groups import check_cuts, chosen_fields, grouping
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import ORIGINAL, Floats, Rows, distinct, known_rows, same_rows
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Schema
from bedside.errors import DataError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.multiplicity import family_level
from bedside.evidence.metrics.ranking import auroc_difference
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

METRICS = ("auroc_change", "brier_change", "probability_shift", "probability_shift_max", "calibration_shift")


class Compression:
    """Compressed minus original, on the same rows: AUROC (two classes; paired DeLong by subject), Brier score,
    probabilities (mean and largest absolute shift, over the classes the largest) and calibration in the large, over all
    rows and in each group.

    The mean of p − q is the change of calibration in the large, for the outcome is the same. `by` are the fields that
    make groups (none by default), `cuts` maps a number to where it is cut; the groups' intervals hold for all at once.
    A group with fewer than 10 subjects is refused.
    """

    name: ClassVar[str] = "compression"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = METRICS
    looks_at: ClassVar[LooksAt] = "groups"
    main: ClassVar[str] = "by"

    def __init__(self, by: Sequence[str] | str = (), cuts: Mapping[str, Sequence[float]] | None = None) -> None:
        self.by = by
        self.cuts = cuts

    def fields(self, schema: Schema) -> list[str]:
        """The fields it groups by. Raises PlanError for one that does not exist."""
        return chosen_fields(schema, self.by)

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
        """The differences. Raises DataError without the predictions of the original, or when they hold other rows."""
        rows = known_rows(predictions, cohort, task)
        others = same_rows(predictions, reference)
        if ORIGINAL not in others or not isinstance(task, Classify):
            raise DataError("there are no predictions of the original network", "`bedside compress` gives them")
        pair = _Pair(
            rows, task, predictions.probabilities[rows.positions], others[ORIGINAL].probabilities[rows.positions]
        )
        return Evidence(self.name, (*pair.overall(level), *self._groups(pair, cohort.take(rows.positions), level)))

    def _groups(self, pair: _Pair, seen: Cohort, level: float) -> list[Estimate]:
        names, cuts = self.fields(seen.schema), self.cuts or {}
        check_cuts(cuts, names)
        groups = [
            (made.group(code), made.members(code))
            for made in (grouping(seen, name, cuts.get(name)) for name in names)
            for code in range(len(made.labels))
        ]
        enough = [distinct(pair.rows.subjects[members]) >= FEWEST_EVENTS for _, members in groups]
        each_level = family_level(level, max(1, sum(enough) * len(pair.explained)))
        out = []
        for (group, members), known in zip(groups, enough, strict=True):
            if known:
                out += pair.calibration(each_level, members, group)
            else:
                counts = pair.rows.counts(members)
                out.append(Estimate("calibration_shift", None, group=group, why_not="why_too_few_subjects", **counts))
        return out


class _Pair:
    """Probabilities p (compressed) and q (original) of the same rows, shape (rows, classes)."""

    def __init__(self, rows: Rows, task: Classify, p: Floats, q: Floats) -> None:
        self.rows, self.task, self.p, self.q = rows, task, p, q
        # Of two classes the positive one tells all.
        self.explained = [1] if task.binary else list(range(len(task.classes)))

    def overall(self, level: float) -> list[Estimate]:
        """Every metric over all rows."""
        rows = self.rows
        shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
        more: dict[str, Any] = {"otherwise": rows.counts()}
        if self.task.binary:
            more["n_events"] = int(np.count_nonzero(rows.event))
        out = []
        if self.task.binary:
            y, p, q = rows.event, self.p[:, 1], self.q[:, 1]
            out.append(attempt("auroc_change", lambda: auroc_difference(y, p, q, **shared), level, **more))
        shift = np.abs(self.p - self.q).max(axis=1)
        out.append(
            attempt("brier_change", lambda: mean(self._brier(self.p) - self._brier(self.q), **shared), level, **more)
        )
        out.append(attempt("probability_shift", lambda: mean(shift, **shared), level, **more))
        out.append(exact("probability_shift_max", float(shift.max()), **rows.counts()))
        return [*out, *self.calibration(level, np.ones(len(rows), dtype=np.bool_), None)]

    def calibration(self, level: float, members: Any, group: dict[str, str] | None) -> list[Estimate]:
        """Mean of p − q of each class, over the rows of a group."""
        rows = self.rows.take(members)
        shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
        out = []
        for k in self.explained:
            gap = (self.p[:, k] - self.q[:, k])[members]
            at = None if self.task.binary else {"class": self.task.classes[k]}
            out.append(
                attempt(
                    "calibration_shift",
                    lambda gap=gap: mean(gap, **shared),  # type: ignore[misc]
                    level,
                    otherwise=rows.counts(),
                    group=group,
                    at=at,
                )
            )
        return out

    def _brier(self, p: Floats) -> Floats:
        """Each row's Brier score: of the positive class, or summed over the classes."""
        if self.task.binary:
            return np.asarray((p[:, 1] - self.rows.event) ** 2)
        own = p[np.arange(len(p)), self.rows.truth.astype(np.int64)]
        return np.asarray(np.einsum("rk,rk->r", p, p) - 2 * own + 1)
