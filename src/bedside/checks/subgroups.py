"""Subgroups: the same questions put to each group, with intervals that hold for all groups at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bedside.checks.assemble import FEWEST_EVENTS, finding
from bedside.checks.groups import Grouping, check_cuts, chosen_fields, grouping, intersections
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import Rows, known_rows
from bedside.checks.subgroup_metrics import (
    OF_BINARY,
    OF_CLASSES,
    OF_NUMBER,
    Chosen,
    enough,
    estimates,
    metrics_of,
    too_few,
)
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Schema
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.multiplicity import family_level
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

FAIR = ("auroc", "sensitivity", "specificity", "accuracy")  # where lower than the whole is worth a word
MOST_LEVELS = 20


class Subgroups:
    """AUROC, sensitivity, specificity, PPV, calibration slope and O/E of each group, with n.

    `by` are the fields (the sensitive ones by default), `cuts` maps a number to where it is cut. Intersections of two
    fields are added where each class has 10 subjects. A group with fewer, with the event or without, is refused.
    Every interval has the Bonferroni level over the groups estimated. Of more than two classes each group's accuracy,
    of a number its mean absolute error and bias.
    """

    name: ClassVar[str] = "subgroups"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    metrics: ClassVar[tuple[str, ...]] = (*OF_BINARY, *OF_CLASSES, *OF_NUMBER)
    looks_at: ClassVar[LooksAt] = "groups"
    main: ClassVar[str] = "by"

    def __init__(
        self,
        by: Sequence[str] | str | None = None,
        cuts: Mapping[str, Sequence[float]] | None = None,
        intersections: bool = True,
    ) -> None:
        self.by = by
        self.cuts = cuts
        self.intersections = intersections

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
        """Estimates a group (the report draws their forest plots) and findings.

        Raises PlanError for an unknown field or wrong cuts.
        """
        rows = known_rows(predictions, cohort, task)
        groupings, findings = self._groupings(cohort.take(rows.positions))
        chosen, refused = _choose(groupings, rows, task, refuse=True)
        if self.intersections:
            chosen += _choose(intersections(groupings), rows, task, refuse=False)[0]
        if not any(each.codes for each in chosen):
            return Evidence(self.name, tuple(refused), (), (*rows.findings, *findings, *_refused(refused)))
        of_groups = family_level(level, sum(len(each.codes) for each in chosen))
        calls = rows.of(predictions.calls) if isinstance(task, Classify) else None
        overall, found = estimates(rows, calls, task, chosen, level, of_groups, seed)
        findings += [*_refused(refused), *_lower(overall, found)]
        return Evidence(self.name, (*found, *refused), (), (*rows.findings, *findings))

    def _groupings(self, seen: Cohort) -> tuple[list[Grouping], list[Finding]]:
        names, cuts = self.fields(seen.schema), self.cuts or {}
        check_cuts(cuts, names)
        if not names:
            return [], [finding("subgroups_none")]
        out, findings = [], []
        for name in names:
            made = grouping(seen, name, cuts.get(name))
            if len(made.labels) > MOST_LEVELS:
                findings.append(finding("subgroup_too_many_levels", "caution", field=name, n=len(made.labels)))
            else:
                out.append(made)
        return out, findings


def _choose(
    groupings: Sequence[Grouping], rows: Rows, task: Task, *, refuse: bool
) -> tuple[list[Chosen], list[Estimate]]:
    """The groups with enough events, and for the others (when asked) estimates that say why there is none."""
    chosen, refused = [], []
    for each in groupings:
        codes = []
        for code in range(len(each.labels)):
            members = each.members(code)
            if enough(rows, task, members, FEWEST_EVENTS):
                codes.append(code)
            elif refuse:
                counts: dict[str, Any] = rows.counts(members)
                if isinstance(task, Classify) and task.binary:
                    counts["n_events"] = int((rows.event & members).sum())
                refused += [
                    Estimate(metric, None, group=each.group(code), why_not=too_few(task), **counts)
                    for metric in metrics_of(task)
                ]
        chosen.append(Chosen(each, tuple(codes)))
    return chosen, refused


def _refused(refused: Sequence[Estimate]) -> list[Finding]:
    """How many groups were refused."""
    n = len({str(item.group) for item in refused})
    return [finding("subgroups_refused", "caution", n=n, fewest=FEWEST_EVENTS)] if n else []


def _lower(overall: Sequence[Estimate], found: Sequence[Estimate]) -> list[Finding]:
    """Groups whose interval lies wholly below the value over all rows."""
    of_all = {item.metric: item.value for item in overall}
    out = []
    for item in found:
        whole = of_all[item.metric]
        if item.metric in FAIR and item.high is not None and whole is not None and item.high < whole:
            values = {"metric": item.metric, "group": _label(item), "value": item.value, "overall": whole}
            out.append(finding("subgroup_lower", "caution", **values))
    return out


def _label(item: Estimate) -> str:
    return " × ".join((item.group or {}).values())
