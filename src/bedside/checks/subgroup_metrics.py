"""What is estimated of each group, for the three kinds of task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bedside.checks.assemble import attempt, estimate
from bedside.checks.groups import Grouping
from bedside.checks.rows import Bools, Ints, Rows, distinct
from bedside.evidence.estimate import Estimate
from bedside.evidence.metrics import regression
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.mean import mean
from bedside.evidence.metrics.panel import Part, binary_panel
from bedside.evidence.metrics.proportions import proportion
from bedside.models.task import Classify, Task

OF_BINARY = ("auroc", "sensitivity", "specificity", "ppv", "calibration_slope", "oe_ratio")
OF_CLASSES = ("accuracy",)
OF_NUMBER = ("mae", "bias")


@dataclass(frozen=True, eq=False)
class Chosen:
    """The groups of one grouping that are estimated."""

    grouping: Grouping
    codes: tuple[int, ...]


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics of a group."""
    if not isinstance(task, Classify):
        return OF_NUMBER
    return OF_BINARY if task.binary else OF_CLASSES


def enough(rows: Rows, task: Task, members: Bools, fewest: int) -> bool:
    """Whether a group has so many subjects, of two classes so many with the event and without."""
    subjects = rows.subjects
    if isinstance(task, Classify) and task.binary:
        event = rows.event
        return all(distinct(subjects[members & each]) >= fewest for each in (event, ~event))
    return distinct(subjects[members]) >= fewest


def too_few(task: Task) -> str:
    """Why a group without `enough` is refused."""
    return "why_too_few_events" if isinstance(task, Classify) and task.binary else "why_too_few_subjects"


def estimates(
    rows: Rows, calls: Ints | None, task: Task, chosen: Sequence[Chosen], level: float, of_groups: float, seed: int
) -> tuple[list[Estimate], list[Estimate]]:
    """Estimates over all rows at `level`, and of every chosen group at `of_groups`."""
    if isinstance(task, Classify) and task.binary and calls is not None:
        return _binary(rows, calls == 1, chosen, level, of_groups, seed)
    hit = None if calls is None else np.asarray(calls == rows.truth)
    overall = _plain(rows, hit, task, level, None)
    by_group = []
    for each in chosen:
        for code in each.codes:
            members = each.grouping.members(code)
            mine = None if hit is None else hit[members]
            by_group += _plain(rows.take(members), mine, task, of_groups, each.grouping.group(code))
    return overall, by_group


def _binary(
    rows: Rows, call: Bools, chosen: Sequence[Chosen], level: float, of_groups: float, seed: int
) -> tuple[list[Estimate], list[Estimate]]:
    codes = {
        each.grouping.name: np.where(np.isin(each.grouping.codes, each.codes), each.grouping.codes, -1)
        for each in chosen
    }
    panel = binary_panel(
        rows.event,
        rows.score,
        call=call,
        subject=rows.subjects,
        weights=rows.weights,
        groups=codes,
        level=level,
        group_level=of_groups,
        seed=seed,
        replicates=2,  # none of the metrics taken from it is bootstrapped
    )
    by_group = []
    for each in chosen:
        for code in each.codes:
            part = panel["groups"][each.grouping.name][code]
            by_group += _of_part(part, of_groups, each.grouping.group(code))
    return _of_part(panel["overall"], level, None), by_group


def _of_part(part: Part, level: float, group: dict[str, str] | None) -> list[Estimate]:
    return [
        estimate(metric, part.estimates[metric], level, n_events=part.n_events, group=group) for metric in OF_BINARY
    ]


def _plain(rows: Rows, hit: Bools | None, task: Task, level: float, group: dict[str, str] | None) -> list[Estimate]:
    shared: dict[str, Any] = {"level": level, "subject": rows.subjects, "weights": rows.weights}
    unit = None if isinstance(task, Classify) else task.unit
    found: dict[str, Callable[[], Interval]]
    if hit is not None:
        found = {"accuracy": lambda: proportion(hit, **shared)}
    else:
        found = {
            "mae": lambda: regression.mae(rows.truth, rows.score, **shared),
            "bias": lambda: mean(rows.score - rows.truth, **shared),
        }
    return [
        attempt(name, compute, level, otherwise=rows.counts(), group=group, unit=unit)
        for name, compute in found.items()
    ]
