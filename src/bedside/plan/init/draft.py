"""What a first plan says of the data: the choices made, the reader's parameters, and how much there is to judge on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.models.task import Classify, Task
from bedside.plan.init.look import Look, Suspect

FEWEST = 8  # subjects of the rarest class: below, no split leaves one of each class in every part
HOLD_OUT_TEST = 0.25
ENOUGH_TO_HOLD_OUT = 200  # rows of each class in the test part
MANY_ROWS = 2000  # of a number


@dataclass(frozen=True)
class Choices:
    """What was asked and answered, or taken as default.

    `read` are parameters of the reader that describe the file; `positive` is a class, and `by_word` says whether its
    own word told that it is the event; `missing` are the suspects that do mean missing.
    """

    name: str
    path: str
    read: Mapping[str, Any]
    target: str
    kind: str
    positive: str | None
    by_word: bool
    subject: str | None
    row_id: str | None
    risk: str
    by: str
    interpretable: bool
    missing: tuple[Suspect, ...]


def reader_parameters(look: Look, choices: Choices) -> dict[str, Any]:
    """The parameters that the plan gives its reader, besides the path, in the order of the plan."""
    found: dict[str, Any] = {
        "subject": choices.subject,
        "row_id": choices.row_id,
        "time": time_of(look, choices),
        "site": site_of(look, choices),
        "sensitive": list(sensitive_of(look, choices)),
        "ignore": [name for columns in ignored(look, choices).values() for name in columns],
        "fields": declared(look, choices),
        "missing": [entry for each in choices.missing for entry in entries(look, each)],
    }
    return {**choices.read, **{key: value for key, value in found.items() if value not in (None, [], {})}}


def time_of(look: Look, choices: Choices) -> str | None:
    """The field with the role time."""
    return look.time if look.time != choices.target else None


def site_of(look: Look, choices: Choices) -> str | None:
    """The field with the role site."""
    return look.site if look.site != choices.target else None


def sensitive_of(look: Look, choices: Choices) -> tuple[str, ...]:
    """The fields by which results are looked at group by group."""
    return tuple(name for name in look.sensitive if name != choices.target)


def ignored(look: Look, choices: Choices) -> dict[str, list[str]]:
    """Reason → columns: those of no use, and ids that are neither subject nor row id."""
    taken = {choices.subject, choices.row_id, choices.target}
    out: dict[str, list[str]] = {}
    for name, reason in look.ignore.items():
        if name not in taken:
            out.setdefault(reason, []).append(name)
    for name in (*look.subjects, *look.row_ids):
        if name not in taken:
            out.setdefault("an id", []).append(name)
    return out


def declared(look: Look, choices: Choices) -> dict[str, dict[str, str]]:
    """Declarations that the look suggests: ages in years, and codes of sensitive fields and sites as categories."""
    schema, site = look.cohort.schema, site_of(look, choices)
    out: dict[str, dict[str, str]] = {}
    for name in (*sensitive_of(look, choices), *([site] if site is not None else [])):
        if schema[name].kind != "number" or schema[name].unit is not None:
            continue
        out[name] = {"unit": "a"} if name in look.ages else {"kind": "category"}
    return out


def entries(look: Look, suspect: Suspect) -> list[Any]:
    """A suspect as the reader's `missing` takes it: everywhere for a word, or a code of many columns and no value."""
    code = int(suspect.code) if isinstance(suspect.code, float) else suspect.code
    elsewhere = (
        item.name
        for item in look.cohort.schema.fields
        if item.kind == "number" and item.name not in suspect.columns and (look.cohort[item.name] == code).any()
    )
    if isinstance(code, str) or (code != 0 and len(suspect.columns) > 4 and next(elsewhere, None) is None):
        return [code]
    return [{name: [code]} for name in suspect.columns]


@dataclass(frozen=True)
class Size:
    """How much there is: rows with a target, those of the rarest class, the event's share; and the split for it.

    Exactly one of `test` (a hold-out's share) and `folds` is given.
    """

    rows: int
    rarest: int
    prevalence: float
    test: float | None
    folds: int | None

    @classmethod
    def of(cls, cohort: Cohort, task: Task) -> Size:
        """Count, and choose folds or a hold-out. Raises DataError for too few subjects of a class."""
        return _of_classes(cohort, task) if isinstance(task, Classify) else _of_number(cohort, task)

    def judged(self, count: int) -> int:
        """How many of a count will be judged: all out of fold, the test's share with a hold-out."""
        return count if self.test is None else round(count * self.test)


def _of_number(cohort: Cohort, task: Task) -> Size:
    known = ~np.isnan(task.truth(cohort))
    rows, subjects = int(known.sum()), int(np.unique(cohort.subject_codes[known]).size)
    if subjects < 3 * FEWEST:
        raise DataError(
            f"only {subjects} subjects have a value of '{', '.join(task.targets)}'",
            f"to train, tune and test needs {3 * FEWEST} or more",
        )
    large = rows >= MANY_ROWS
    return Size(rows, rows, 1.0, HOLD_OUT_TEST if large else None, None if large else 5)


def _of_classes(cohort: Cohort, task: Classify) -> Size:
    truth, subjects = task.truth(cohort), cohort.subject_codes
    counts = np.bincount(truth[truth >= 0], minlength=len(task.classes))
    fewest = min(int(np.unique(subjects[truth == index]).size) for index in range(len(task.classes)))
    if fewest < FEWEST:
        raise DataError(
            f"target '{task.target}': only {fewest} subjects have its rarest class",
            f"to train, tune and test needs {FEWEST} or more, to decide a gate some hundreds",
        )
    rows, rarest = int(counts.sum()), int(counts.min())
    large = rarest * HOLD_OUT_TEST >= ENOUGH_TO_HOLD_OUT
    share = float((counts[-1] if task.binary else counts.min()) / rows)
    return Size(rows, rarest, share, HOLD_OUT_TEST if large else None, None if large else min(5, fewest // 4))
