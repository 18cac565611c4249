"""Summarise events: numbers of each row's events in a window of hours, by code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError, PlanError
from bedside.prepare.steps.base import FittedStep

STATISTICS = ("first", "last", "min", "max", "mean", "count")


@dataclass
class SummariseEvents(FittedStep):
    """Fields `<code>.first`, `.last`, `.min`, `.max`, `.mean` and `.count` of the numeric events of each code.

    The window is `hours` = [from, to], both included, counted from the row's time (the field with role time), or from
    1970-01-01 where there is none, as the reader of relative times stores them. Events without a time are always in.
    Learnt is only which codes there are: those of at least `min_rows` rows of train, or the `codes` named. No event in
    the window: count 0, the others missing. Of two events at one time the smaller value is first.
    """

    hours: Sequence[float] = (0, 48)
    codes: Sequence[str] | None = None
    statistics: Sequence[str] = STATISTICS
    min_rows: int = 10

    name: ClassVar[str] = "summarise_events"
    main: ClassVar[str] = "hours"

    def __post_init__(self) -> None:
        if isinstance(self.hours, str) or len(self.hours) != 2 or not self.hours[0] < self.hours[1]:
            raise PlanError(f"step 'summarise_events': hours is {self.hours!r}", "write [from, to], such as [0, 48]")
        unknown = [each for each in self.statistics if each not in STATISTICS]
        if unknown or isinstance(self.statistics, str):
            raise PlanError(f"step 'summarise_events': statistics {unknown}", f"any of {', '.join(STATISTICS)}")

    def parameters(self) -> dict[str, object]:
        """The arguments of __init__."""
        return {**super().parameters(), "hours": list(self.hours), "statistics": list(self.statistics)}

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn the codes; raises DataError when there are no events, or none of a code that is named."""
        found = self._in_window(train).group_by("code").agg(rows=pl.col("row").n_unique())
        rows = dict(found.iter_rows())
        if self.codes is not None:
            absent = [code for code in self.codes if code not in rows]
            if absent:
                raise DataError(f"no numeric event in the window has the code {', '.join(absent[:5])}", "drop it")
            codes = list(self.codes)
        else:
            codes = sorted(code for code, count in rows.items() if count >= self.min_rows)
        if not codes:
            raise DataError(f"no code has numeric events in {self.min_rows} rows or more of train", "lower `min_rows`")
        self.state_ = {"codes": codes}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with the summaries appended as number fields."""
        codes: list[str] = self.state["codes"]
        rank = {code: i for i, code in enumerate(codes)}
        events = self._in_window(cohort).filter(pl.col("code").is_in(codes))
        value = pl.col("value")
        made = (
            events.sort("row", "code", "time", "value", nulls_last=False)
            .group_by("row", "code", maintain_order=True)
            .agg(
                first=value.first(),
                last=value.last(),
                min=value.min(),
                max=value.max(),
                mean=value.mean(),
                count=pl.len(),
            )
        )
        rows = made["row"].to_numpy()
        columns = made["code"].replace_strict(rank, return_dtype=pl.Int64).to_numpy() if made.height else rows
        series, fields = [], []
        for statistic in self.statistics:
            table = np.full((len(codes), len(cohort)), 0.0 if statistic == "count" else np.nan)
            table[columns, rows] = made[statistic].cast(pl.Float64).to_numpy()
            for code, values in zip(codes, table, strict=True):
                fields.append(Field(f"{code}.{statistic}", "number"))
                series.append(pl.Series(fields[-1].name, values, nan_to_null=True))
        taken = [item.name for item in fields if item.name in cohort.schema]
        if taken:
            raise DataError(f"there are fields already called {', '.join(taken[:5])}", "rename them")
        schema = replace(cohort.schema, fields=(*cohort.schema.fields, *fields))
        return cohort.derive(cohort.frame.hstack(series), schema)

    def _in_window(self, cohort: Cohort) -> pl.DataFrame:
        """Numeric events of each row's window: row (position), code, time, value."""
        if cohort.events is None:
            raise DataError("there are no events to summarise", "read them with the reader `events`")
        start = cohort.schema.one("time")
        rows = pl.DataFrame(
            {
                "row": np.arange(len(cohort)),
                "subject_id": cohort["subject"],
                "start": pl.Series([0]).cast(pl.Datetime("us")).new_from_index(0, len(cohort))
                if start is None
                else cohort[start.name],
            }
        )
        low, high = (pl.duration(microseconds=round(hours * 3.6e9), time_unit="us") for hours in self.hours)
        inside = pl.col("time").is_null() | pl.col("time").is_between(pl.col("start") + low, pl.col("start") + high)
        return (
            cohort.events.lazy()
            .filter(pl.col("numeric_value").is_not_null())
            .join(rows.lazy(), on="subject_id")
            .filter(inside)
            .select("row", "code", "time", value="numeric_value")
            .collect()
        )
