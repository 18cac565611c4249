"""A cleaning step in one file: two values of a row written the wrong way round, such as 80/120 mmHg, change places."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, counted, number_field


@dataclass
class Swapped(Cleaner):
    """`larger` and `smaller` change places where larger < smaller; a row that lacks one of them stays as it is."""

    larger: str
    smaller: str

    name: ClassVar[str] = "swapped"
    scope: ClassVar[Literal["item", "cohort"]] = "item"  # looks at one row: replayed on every new row

    def within(self, names: Collection[str]) -> Self | None:
        """The step where both fields are there, else nothing."""
        return self if {self.larger, self.smaller} <= set(names) else None

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """The repaired cohort, and in how many rows values changed places. Raises DataError for what is no number."""
        pair = (self.larger, self.smaller)
        for field in pair:
            number_field(cohort, field, self.name)
        wrong = (pl.col(self.larger) < pl.col(self.smaller)).fill_null(False)
        turned = cohort.frame.select(
            wrong.alias("wrong"),
            pl.when(wrong).then(self.smaller).otherwise(self.larger).alias(self.larger),
            pl.when(wrong).then(self.larger).otherwise(self.smaller).alias(self.smaller),
        )
        n = int(turned["wrong"].sum())
        found = tuple(counted("clean_values_changed", n, cohort, step=self.name, field=field) for field in pair)
        columns = {field: turned[field] for field in pair}
        return cohort.with_columns(columns, [cohort.schema[field] for field in pair]), Evidence("clean.swapped", found)
