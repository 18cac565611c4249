"""Groups of rows by a field: levels of a category, ranges of a number, and intersections of two fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import polars as pl

from bedside.checks.rows import Bools, Ints
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError, PlanError

AGE_UNITS = ("a", "year", "years")
AGE_CUTS = (18.0, 45.0, 65.0, 75.0)
MISSING = "missing"


@dataclass(frozen=True, eq=False)
class Grouping:
    """A partition of rows: `codes` (rows,) index `labels`; each label gives the value of each field."""

    fields: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    codes: Ints

    @property
    def name(self) -> str:
        """The fields, joined by ×."""
        return " × ".join(self.fields)

    def group(self, code: int) -> dict[str, str]:
        """Field → value of a group."""
        return dict(zip(self.fields, self.labels[code], strict=True))

    def members(self, code: int) -> Bools:
        """The rows of a group."""
        return np.asarray(self.codes == code)


def grouping(cohort: Cohort, name: str, cuts: Sequence[float] | None = None) -> Grouping:
    """The groups of one field, in the order of its levels; missing values are a group of their own, last.

    A number is cut at `cuts`, else at 18, 45, 65 and 75 when its unit is years, else at its tertiles.
    Raises DataError for a field that has no groups (text, files), PlanError for cuts of a field that is no number.
    """
    item, column = cohort.schema[name], cohort[name]
    if item.kind == "number":
        labels, codes = _ranges(column, _cuts(item, column, cuts))
    elif cuts is not None:
        raise PlanError(f"'{name}' is a {item.kind}: cuts are for numbers", "leave them out")
    elif item.kind in ("category", "ordinal", "boolean"):
        labels, codes = _levels(item, column)
    else:
        raise DataError(
            f"'{name}' is a {item.kind}, which has no groups", "choose a category, ordinal, boolean or number"
        )
    if column.null_count():
        codes = np.where(codes < 0, len(labels), codes)
        labels = [*labels, MISSING]
    return _occurring((name,), [(label,) for label in labels], codes)


def intersections(groupings: Sequence[Grouping]) -> list[Grouping]:
    """Every pair of groupings crossed; groups in which a value is missing are left out (their codes are −1)."""
    out = []
    for a, b in combinations(groupings, 2):
        labels = [(*x, *y) for x in a.labels for y in b.labels]
        codes = a.codes * len(b.labels) + b.codes
        lacking = np.array([MISSING in label for label in labels])
        out.append(_occurring((*a.fields, *b.fields), labels, np.where(lacking[codes], -1, codes)))
    return out


def _occurring(fields: tuple[str, ...], labels: Sequence[tuple[str, ...]], codes: Ints) -> Grouping:
    """Only labels that occur, in order."""
    seen = np.unique(codes[codes >= 0])
    index = np.full(len(labels) + 1, -1)
    index[seen] = np.arange(len(seen))
    return Grouping(fields, tuple(labels[code] for code in seen), index[codes])


def _cuts(item: Field, column: pl.Series, cuts: Sequence[float] | None) -> list[float]:
    if cuts is not None:
        chosen = [float(cut) for cut in cuts]
        if not chosen or chosen != sorted(set(chosen)):
            raise PlanError(f"cuts of '{item.name}' must rise: {chosen}", "such as [18, 45, 65]")
        return chosen
    if item.unit in AGE_UNITS:
        return list(AGE_CUTS)
    known = column.drop_nulls().to_numpy()
    if len(known) == 0:
        return []
    return sorted({float(f"{cut:.4g}") for cut in np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf")})


def _ranges(column: pl.Series, cuts: list[float]) -> tuple[list[str], Ints]:
    values = column.fill_null(float("nan")).to_numpy()
    codes = np.where(np.isnan(values), -1, np.searchsorted(cuts, values, side="right"))
    text = [f"{cut:g}" for cut in cuts]
    if not cuts:
        return ["known"], codes
    inner = [f"{low}–<{high}" for low, high in pairwise(text)]
    return [f"<{text[0]}", *inner, f"≥{text[-1]}"], codes


def _levels(item: Field, column: pl.Series) -> tuple[list[str], Ints]:
    text = column.cast(pl.String)
    found = sorted(text.drop_nulls().unique().to_list())
    declared = [level for level in item.levels or () if level in set(found)]
    levels = [*declared, *(level for level in found if level not in set(declared))]
    codes = text.replace_strict(dict(zip(levels, range(len(levels)), strict=True)), default=-1, return_dtype=pl.Int64)
    return levels, codes.fill_null(-1).to_numpy()


def chosen_fields(schema: Schema, by: Sequence[str] | str | None) -> list[str]:
    """The fields to group by: those named, else the sensitive ones. Raises PlanError for one that does not exist."""
    if by is None:
        return [item.name for item in schema.with_role("sensitive")]
    by = [by] if isinstance(by, str) else list(by)
    unknown = [name for name in by if name not in schema]
    if unknown:
        raise PlanError(f"no field {unknown} to group by", "fields: " + ", ".join(schema.names[:30]))
    return by


def check_cuts(cuts: Mapping[str, Sequence[float]], fields: Sequence[str]) -> None:
    """Raises PlanError for cuts of a field that is not grouped by."""
    unused = sorted(set(cuts) - set(fields))
    if unused:
        raise PlanError(f"cuts are given for {unused}, which are not grouped by", f"grouped by {list(fields)}")
