"""Frames already in memory: from pandas and polars, and back to pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError, MissingExtra
from bedside.intake.tables import Tables

if TYPE_CHECKING:
    import pandas as pd


def from_polars(frame: pl.DataFrame | pl.LazyFrame, **parameters: Any) -> Cohort:
    """The cohort of a polars frame; `parameters` are those of `Tables` (subject, target, fields, missing …)."""
    collected = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    return Tables(**parameters).frame("the polars frame", collected, {"format": "polars"})


def from_pandas(frame: pd.DataFrame, **parameters: Any) -> Cohort:
    """The cohort of a pandas frame; a named index becomes a column. `parameters` are those of `Tables`.

    Raises DataError for column names that repeat or a column of mixed types.
    """
    named = [name for name in frame.index.names if name is not None]
    table = frame.reset_index() if named else frame
    names = [str(name) for name in table.columns]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"the pandas frame has columns of one name: {', '.join(repeated[:5])}", "rename them")
    columns = []
    for i, name in enumerate(names):
        try:
            columns.append(pl.Series(name, pl.from_pandas(table.iloc[:, i], nan_to_null=True)))
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            reason = type(error).__name__
            raise DataError(
                f"the pandas frame: column '{name}' cannot be read ({reason})", "give it one type, such as str"
            ) from None
    return Tables(**parameters).frame("the pandas frame", pl.DataFrame(columns), {"format": "pandas"})


def to_pandas(cohort: Cohort) -> pd.DataFrame:
    """The cohort's table as pandas: row_id as index, subject and fields as columns, categories as Categorical."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("pandas", "to_pandas") from None
    out = cohort.frame.to_pandas().set_index("row_id")
    for item in cohort.schema.fields:
        if item.kind in ("category", "ordinal"):
            found = sorted(cohort[item.name].drop_nulls().unique())
            declared = list(item.levels or ())
            levels = declared + [level for level in found if level not in declared]
            out[item.name] = pd.Categorical(out[item.name], categories=levels, ordered=item.kind == "ordinal")
    return out
