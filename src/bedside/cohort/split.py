"""Splits: each subject, whole, on one side; shares exact, labels balanced, independent of row order.

Subjects are ordered inside their stratum by a hash keyed with the seed, and each stratum is cut at the shares, counted
in rows. What is rounded away in one stratum the next one takes up, so the shares hold within one subject in every
stratum, and do not drift apart over many. Each class has at least one subject in every part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest, table_digest
from bedside.cohort.subjects import PARTS, Stratify, Subjects
from bedside.errors import DataError, LeakError

Rows = NDArray[np.int64]
Kind = Literal["hold_out", "k_fold"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Fold:
    """Row positions of the parts, each sorted, int64.

    `search` serves early stopping and tuning; `calibrate` serves the calibrator, thresholds and conformal scores.
    """

    train: Rows
    search: Rows
    calibrate: Rows
    test: Rows

    @property
    def tune(self) -> Rows:
        """The whole tune part: search and calibrate, sorted."""
        return np.sort(np.concatenate([self.search, self.calibrate]))

    @property
    def parts(self) -> dict[str, Rows]:
        """The four parts by name."""
        return {name: getattr(self, name) for name in PARTS}


@dataclass(frozen=True, eq=False)
class Split:
    """Folds and how they were made; a hold-out has one fold, K folds have K whose tests partition the rows.

    `row_id` names the rows, in the cohort's order; each row is in one part of every fold.
    """

    folds: tuple[Fold, ...]
    kind: Kind
    row_id: pl.Series
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of kind, parameters and assignment."""
        table = table_digest(self.assignment_frame())
        return json_digest({"format": FORMAT, "kind": self.kind, "parameters": dict(self.parameters), "table": table})

    def assignment_frame(self) -> pl.DataFrame:
        """The form to save: `row_id`, `fold` (from 0), `part`; one row for each row and fold, in the cohort's order."""
        frames = []
        for index, fold in enumerate(self.folds):
            part = np.zeros(len(self.row_id), dtype=np.uint32)
            for code, rows in enumerate(fold.parts.values()):
                part[rows] = code
            number = pl.repeat(index, len(part), dtype=pl.Int64, eager=True)
            frames.append(
                pl.DataFrame({"row_id": self.row_id, "fold": number, "part": pl.Series(PARTS, dtype=pl.String)[part]})
            )
        return pl.concat(frames)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, kind: str, parameters: Mapping[str, Any] | None = None) -> Split:
        """The inverse of `assignment_frame`; raises DataError when the folds do not have the same rows."""
        if kind not in ("hold_out", "k_fold"):
            raise DataError(f"unknown kind of split '{kind}'", "hold_out or k_fold")
        pieces = frame.partition_by("fold", maintain_order=True)
        if not pieces or any(not piece["row_id"].equals(pieces[0]["row_id"]) for piece in pieces):
            raise DataError("the folds of a saved split do not have the same rows", "split again")
        codes = [piece["part"].replace_strict(PARTS, range(len(PARTS)), return_dtype=pl.Int64) for piece in pieces]
        folds = tuple(_fold_of(code.to_numpy()) for code in codes)
        return cls(folds, cast(Kind, kind), pieces[0]["row_id"], parameters if parameters is not None else {})


def hold_out(
    cohort: Cohort,
    *,
    test: float = 0.25,
    tune: float = 0.15,
    by: str = "subject",
    stratify: Stratify = None,
    seed: int = 0,
    allow_shared_subjects: bool = False,
) -> Split:
    """One split; `test` and `tune` are shares of all rows, either may be 0.

    `by` "subject": subjects at random; "site": whole sites go to test; "time": the subjects seen last go to test;
    "column:NAME": the parts a field names (train, tune or val, test), tune being taken from train when it names none.
    Tune is always taken by subject. `stratify` balances a field's classes (a subject counts for its rarest one) or
    quantiles, or the combinations of classes of several fields, in which values may be missing. Raises DataError for
    missing values, too few subjects or a class with too few; LeakError for a subject with several sites or official
    parts (`allow_shared_subjects` waives the latter).
    """
    _check_share("test", test)
    _check_share("tune", tune)
    if test + tune >= 1:
        raise DataError(f"test {test:g} and tune {tune:g} leave no rows to train on", "choose smaller shares")
    parameters: dict[str, Any] = {"test": test, "tune": tune, "by": by, "stratify": stratify, "seed": seed}
    subjects = Subjects(cohort, stratify, seed)
    if by.startswith("column:"):
        part = subjects.official(by.removeprefix("column:"), tune, allow_shared_subjects)
        parameters |= {"allow_shared_subjects": allow_shared_subjects}
    elif by == "subject":
        part = subjects.parts(test, tune)
    elif by in ("site", "time"):
        if not test:
            raise DataError(f"by '{by}' needs a test share", "choose test above 0, or split by subject")
        tested = (subjects.deal_sites([test], "train and test") if by == "site" else subjects.latest([test])) == 0
        part = subjects.around(tested, tune)
    else:
        raise DataError(f"cannot split by '{by}'", "by: subject, site, time or column:NAME")
    return Split((_fold_of(part),), "hold_out", cohort["row_id"], parameters)


def k_fold(
    cohort: Cohort,
    *,
    folds: int,
    tune: float = 0.15,
    by: str = "subject",
    stratify: Stratify = None,
    seed: int = 0,
) -> Split:
    """K folds whose test parts partition the rows, by "subject", by whole "site" or by "time"; `tune` is a share of all
    rows.

    By time the subjects are put in order of when they were last seen and cut into K spans; each span is tested by a
    model of the others, later ones too: it asks whether a model holds at other times, and a hold-out by time whether it
    holds in the future (Roberts 2017, block cross-validation). Raises DataError for missing values, fewer subjects or
    sites than folds, or a class with too few subjects.
    """
    _check_share("tune", tune)
    if folds < 2:
        raise DataError(f"{folds} folds are no cross-validation", "choose 2 folds or more, or a hold-out")
    if tune >= 1 - 1 / folds:
        raise DataError(f"tune {tune:g} and {folds} folds leave no rows to train on", "choose a smaller tune share")
    subjects = Subjects(cohort, stratify, seed, folds)
    shares = [1 / folds] * (folds - 1)
    if by == "subject":
        fold = subjects.deal(shares, f"{folds} folds")
    elif by == "site":
        fold = subjects.deal_sites(shares, f"{folds} folds")
    elif by == "time":
        fold = subjects.latest(shares)
    else:
        raise DataError(f"cannot make folds by '{by}'", "by: subject, site or time")
    parameters = {"folds": folds, "tune": tune, "by": by, "stratify": stratify, "seed": seed}
    made = tuple(_fold_of(subjects.around(fold == k, tune, after=fold > k)) for k in range(folds))
    return Split(made, "k_fold", cohort["row_id"], parameters)


def refuse_leak(cohort: Cohort, fold: Fold) -> None:
    """Raises LeakError when a subject is in two parts of a fold: how many and which parts, never who."""
    seen = np.zeros((len(PARTS), cohort.n_subjects), dtype=bool)
    for index, rows in enumerate(fold.parts.values()):
        seen[index, cohort.subject_codes[rows]] = True
    shared = [
        f"{int(both)} in {PARTS[a]} and {PARTS[b]}"
        for a in range(len(PARTS))
        for b in range(a + 1, len(PARTS))
        if (both := np.count_nonzero(seen[a] & seen[b]))
    ]
    if shared:
        count = np.count_nonzero(seen.sum(axis=0) > 1)
        raise LeakError(f"{count} subjects are in more than one part: {'; '.join(shared)}", "split by subject")


def _fold_of(part: NDArray[np.integer[Any]]) -> Fold:
    """The fold of rows whose part is an index of PARTS, shape (rows,)."""
    return Fold(*(np.flatnonzero(part == index) for index in range(len(PARTS))))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise DataError(f"{name} {share:g} is not a share", "choose 0 or more and less than 1")
