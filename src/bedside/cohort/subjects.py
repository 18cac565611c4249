"""The subjects of a cohort as a split sees them: rows, strata, keyed hash order, and the ways they are dealt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort, first_appearance
from bedside.cohort.deal import Indices, deal, keyed_order
from bedside.cohort.schema import Field
from bedside.errors import DataError, LeakError

Stratify = str | Sequence[str] | None
PARTS = ("train", "search", "calibrate", "test")
LABELS = {"train": 0, "tune": 1, "val": 1, "valid": 1, "validation": 1, "test": 3}  # indices of PARTS; tune is halved
MOST_CLASSES = 20  # of a field that is balanced together with others
BINS = 10  # of a numeric target
ROWS_A_CLASS = 5  # at least, on average, for classes to be named in an error
WAY_OUT = "collect more subjects, merge rare classes, choose fewer folds or a smaller tune part, or do not stratify"


class Subjects:
    """The subjects of a cohort, by number in order of first appearance: their rows, strata and keyed hash order."""

    def __init__(self, cohort: Cohort, stratify: Stratify, seed: int, folds: int = 1) -> None:
        if not len(cohort):
            raise DataError("the cohort has no rows to split", "check what was read or dropped before")
        targets = cohort.schema.with_role("target")
        for name in {item.name for item in targets if len(targets) == 1} | (
            {stratify} if isinstance(stratify, str) else set()
        ):
            _refuse_missing(cohort, name)
        self.cohort = cohort
        self.seed = seed
        self.codes = cohort.subject_codes
        self.weights = np.bincount(self.codes)
        self.members: dict[str, NDArray[np.bool_]] = {}
        order = keyed_order(cohort["subject"].unique(maintain_order=True).to_list(), seed)
        self.strata = [order]
        if stratify is None:
            return
        if isinstance(stratify, str):
            item = cohort.schema[stratify]
            stratum = self._bins(item, folds) if item.kind == "number" else self._rarest_class(item)
        else:
            stratum = self._combinations(stratify, folds)
        self.strata = [order[stratum[order] == index] for index in range(int(stratum.max()) + 1)]

    def _rarest_class(self, item: Field) -> Indices:
        """Each subject's rarest class, as a number; `members` has each class's subjects by that class."""
        if item.kind not in ("category", "ordinal", "boolean"):
            raise DataError(f"cannot stratify by '{item.name}', a {item.kind}", "name a category, boolean or number")
        values = self.cohort[item.name].cast(pl.String).alias("class")
        classes = values.value_counts(name="rows").sort("rows", "class")["class"].to_list()
        if len(classes) == 1:
            raise DataError(
                f"'{item.name}' has one class only: '{classes[0]}' in all {len(values)} rows",
                "check the column and its missing codes: nothing can be learnt from one class",
            )
        ranks = values.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64).to_numpy()
        rarest = np.full(len(self.weights), len(classes), dtype=np.int64)
        np.minimum.at(rarest, self.codes, ranks)
        # A wrong column may hold names; a class is told where values are shared by some rows.
        told = len(values) >= ROWS_A_CLASS * len(classes)
        self.members = {
            f"class '{name}'" if told else f"a class ({i + 1})": rarest == i for i, name in enumerate(classes)
        }
        return rarest

    def _combinations(self, names: Sequence[str], folds: int) -> Indices:
        """Each subject's combination of its rarest class in each of several fields, as a number.

        A missing value is a class of its own. A combination of few subjects is no stratum: its subjects go to that of
        the rarest class they have in any field, so that rare labels are spread too.
        """
        states = []
        for name in names:
            item = self.cohort.schema[name]
            if item.kind not in ("category", "ordinal", "boolean", "number"):
                raise DataError(f"cannot stratify by '{name}', a {item.kind}", "name categories or booleans")
            values = self.cohort[name].cast(pl.String).fill_null("").alias("class")
            classes = values.value_counts(name="rows").sort("rows", "class")["class"].to_list()
            if len(classes) > MOST_CLASSES:
                raise DataError(f"'{name}' has {len(classes)} values, too many to stratify by with others", WAY_OUT)
            ranks = values.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64).to_numpy()
            rarest = np.full(len(self.weights), len(classes), dtype=np.int64)
            np.minimum.at(rarest, self.codes, ranks)
            states.append(rarest)
            self.members |= {f"'{name}: {each}'": rarest == i for i, each in enumerate(classes) if each}
        _, combined, sizes = np.unique(np.column_stack(states), axis=0, return_inverse=True, return_counts=True)
        few = sizes[combined] < max(8, 2 * folds)
        by_size = sorted(self.members.values(), key=lambda each: int(each.sum()))
        stratum = combined.astype(np.int64) + len(by_size)
        for i, members in reversed(list(enumerate(by_size))):
            stratum[few & members] = i
        return np.unique(stratum, return_inverse=True)[1].astype(np.int64)

    def _bins(self, item: Field, folds: int) -> Indices:
        """The quantile bin of each subject's largest value (a mean would hang on the order of its rows)."""
        largest = np.full(len(self.weights), -np.inf)
        np.maximum.at(largest, self.codes, self.cohort[item.name].to_numpy())
        bins = max(1, min(BINS, len(largest) // max(8, 2 * folds)))
        edges = np.unique(np.quantile(largest, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
        return np.searchsorted(edges, largest)

    def deal(self, shares: Sequence[float], needs: str) -> Indices:
        """Each subject's part, dealt inside its stratum; `needs` says in words what wants one subject of each class."""
        self._refuse_few(self.strata, len(shares) + 1, needs)
        return deal(self.strata, self.weights, shares)

    def deal_sites(self, shares: Sequence[float], needs: str) -> Indices:
        """Each subject's part when whole sites are dealt."""
        name = self._role("site")
        sites = first_appearance(self.cohort[name])
        site_of = np.zeros(len(self.weights), dtype=np.int64)
        site_of[self.codes] = sites
        moved = len(np.unique(self.codes[site_of[self.codes] != sites]))
        if moved:
            raise LeakError(
                f"{moved} subjects have rows at more than one site ('{name}')",
                "split by subject, or give each subject one site",
            )
        names = self.cohort[name].unique(maintain_order=True).cast(pl.String).to_list()
        if len(names) <= len(shares):
            raise DataError(
                f"{len(names)} sites ('{name}') are too few for {needs}", "fewer folds, or split by subject"
            )
        return deal([keyed_order(names, self.seed)], np.bincount(sites), shares)[site_of]

    def latest(self, shares: Sequence[float]) -> Indices:
        """0 for the subjects seen last, that together have the first share of the rows; 1 for those before, and so on;
        the others get the number of shares."""
        name = self._role("time")
        last = np.full(len(self.weights), np.iinfo(np.int64).min)
        np.maximum.at(last, self.codes, self.cohort[name].to_physical().to_numpy())
        if len(last) < 2:
            raise DataError("1 subject is too few for train and test", "collect more subjects")
        if len(last) <= len(shares):
            raise DataError(f"{len(last)} subjects are too few for {len(shares) + 1} parts in time", "fewer folds")
        order = np.concatenate(self.strata)
        return deal([order[np.argsort(-last[order], kind="stable")]], self.weights, list(shares))

    def parts(self, test: float, tune: float) -> Indices:
        """Each row's part (an index of PARTS) when all are dealt at once; a share of 0 has no part."""
        codes = [3] * (test > 0) + [1, 2] * (tune > 0) + [0]
        shares = [test] * (test > 0) + [tune / 2] * 2 * (tune > 0)
        if not shares:
            return np.zeros(len(self.codes), dtype=np.int64)
        dealt = self.deal(shares, ", ".join(PARTS[code] for code in sorted(codes)))
        return np.array(codes)[dealt][self.codes]

    def around(self, tested: NDArray[np.bool_], tune: float, after: NDArray[np.bool_] | None = None) -> Indices:
        """Each row's part when the test subjects are given and tune is dealt from the others, `after` first."""
        part = np.where(tested, 3, 0)
        if tune:
            rest = [members[~tested[members]] for members in self.strata]
            if after is not None:
                rest = [np.concatenate([members[after[members]], members[~after[members]]]) for members in rest]
            part[~tested] = self._tune(rest, self.weights, tune)[~tested]
        return part[self.codes]

    def official(self, name: str, tune: float, allow_shared_subjects: bool) -> Indices:
        """Each row's part as a field's labels name it; tune is halved, or taken from train when no label names it."""
        _refuse_missing(self.cohort, name)
        said = self.cohort[name].cast(pl.String).str.strip_chars().str.to_lowercase()
        unknown = said.filter(~said.is_in(list(LABELS)))
        if len(unknown):
            raise DataError(
                f"'{name}' names no part in {len(unknown)} rows: '{unknown[0]}'", f"use {', '.join(LABELS)}"
            )
        part = said.replace_strict(list(LABELS), list(LABELS.values()), return_dtype=pl.Int64).to_numpy().copy()
        rows = [np.bincount(self.codes[part == label], minlength=len(self.weights)) for label in (0, 1, 3)]
        if not rows[0].any():
            raise DataError(f"'{name}' names no row 'train'", f"use {', '.join(LABELS)}")
        shared = np.count_nonzero(np.count_nonzero(rows, axis=0) > 1)
        if shared and not allow_shared_subjects:
            raise LeakError(
                f"{shared} subjects are in more than one part of the official split '{name}'",
                "split by subject, or waive it with allow_shared_subjects (the report will say so)",
            )
        if rows[1].any():
            strata = [members[rows[1][members] > 0] for members in self.strata]
            self._refuse_few(strata, 2, "search and calibrate")
            half = deal(strata, rows[1], [0.5])
            part[part == 1] += half[self.codes[part == 1]]
        elif tune:
            strata = [members[rows[0][members] > 0] for members in self.strata]
            part[part == 0] = self._tune(strata, rows[0], tune)[self.codes[part == 0]]
        return part

    def _tune(self, strata: Sequence[Indices], weights: Indices, tune: float) -> Indices:
        """Search, calibrate or train (1, 2, 0) for the subjects of strata; `tune` is a share of all rows."""
        left = sum(int(weights[members].sum()) for members in strata)
        if tune * len(self.cohort) >= left:
            raise DataError(f"{left} of {len(self.cohort)} rows are outside test: too few for tune {tune:g}", WAY_OUT)
        self._refuse_few(strata, 3, "train, search and calibrate, outside test")
        share = tune * len(self.cohort) / 2 / left
        return (deal(strata, weights, [share, share]) + 1) % 3

    def _role(self, role: str) -> str:
        item = self.cohort.schema.one(role)
        if item is None:
            raise DataError(f"no field has the role '{role}'", "give one that role, or split by subject")
        _refuse_missing(self.cohort, item.name)
        return item.name

    def _refuse_few(self, strata: Sequence[Indices], least: int, needs: str) -> None:
        count = sum(len(members) for members in strata)
        if count < least:
            raise DataError(f"{count} subjects are too few for {needs}", WAY_OUT)
        dealt = np.concatenate(strata)
        for name, members in self.members.items():
            n = int(np.count_nonzero(members[dealt]))
            if 0 < n < least:
                raise DataError(f"{name} has {n} subjects, too few for {needs}", WAY_OUT)


def _refuse_missing(cohort: Cohort, name: str) -> None:
    values = cohort[name]
    missing = values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)
    if missing:
        raise DataError(f"'{name}' is missing in {missing} of {len(values)} rows", "drop those rows in a clean step")
