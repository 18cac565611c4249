"""Implausible values: outside a field's range, or not among its levels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, check_choice, counted, number_field


@dataclass
class Ranges(Cleaner):
    """Values below `low`, above `high` or off the declared `levels` become missing, or are an error.

    `fields` gives ranges ({sodium: [100, 190]}, null for an open end) beside those that the schema declares. There is
    no clipping: it would invent values that nobody measured.
    """

    outside: str = "missing"
    fields: Mapping[str, list[float | None]] | None = None

    name: ClassVar[str] = "ranges"
    scope: ClassVar[Literal["item", "cohort"]] = "item"
    main: ClassVar[str] = "outside"

    def __post_init__(self) -> None:
        if self.outside == "clip":
            raise PlanError("clean step 'ranges': clipping invents values that nobody measured", "say missing or error")
        check_choice(self.name, "outside", self.outside, ("missing", "error"))
        for name, pair in (self.fields or {}).items():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise PlanError(f"clean step 'ranges': '{name}' has the range {pair!r}", "write [low, high]")

    def within(self, names: Collection[str]) -> Self:
        """The same with only the ranges of these fields."""
        return replace(self, fields={name: list(pair) for name, pair in (self.fields or {}).items() if name in names})

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """Ranges applied. Raises DataError, naming fields and counts, when `outside` is error and a value is."""
        declared = []
        for name, (low, high) in (self.fields or {}).items():
            number_field(cohort, name, self.name)
            declared.append(replace(cohort.schema[name], low=low, high=high))
        cohort = cohort.with_fields(declared)
        tests = {item.name: test for item in cohort.schema.fields if (test := _outside(item)) is not None}
        if not tests:
            return cohort, Evidence("clean.ranges")
        marked = cohort.frame.select([test.fill_null(False).alias(name) for name, test in tests.items()])
        counts = dict(zip(marked.columns, marked.sum().row(0), strict=True))
        found = {name: count for name, count in counts.items() if count}
        if found and self.outside == "error":
            listed = ", ".join(f"'{name}' {count}" for name, count in list(found.items())[:10])
            raise DataError(
                f"values outside their range or levels: {listed}", "mend them, or say {ranges: missing} in `clean`"
            )
        emptied = {name: cohort.frame[name].set(marked[name], None) for name in found}
        estimates = [
            counted("clean_values_removed", count, cohort, step=self.name, field=name) for name, count in counts.items()
        ]
        return cohort.with_columns(emptied), Evidence("clean.ranges", tuple(estimates))


def _outside(item: Field) -> pl.Expr | None:
    if item.kind == "number" and (item.low is not None or item.high is not None):
        below = pl.col(item.name) < item.low if item.low is not None else pl.lit(False)
        above = pl.col(item.name) > item.high if item.high is not None else pl.lit(False)
        return below | above
    if item.kind in ("category", "ordinal") and item.levels is not None:
        return ~pl.col(item.name).is_in(list(item.levels))
    return None
