"""Synthetic events for golden rows: for each code, how often, when and how large, each drawn from its own marginal."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import EVENT_COLUMNS, Cohort

FEWEST = 5  # a code of fewer subjects may point at one of them, so it is not drawn
_AT = np.linspace(0.01, 0.99, 50)


def golden_events(raw: Cohort, golden: Cohort, seed: int) -> pl.DataFrame:
    """Events (MEDS columns) of the golden rows' subjects, none of them a patient's."""
    if raw.events is None:
        raise ValueError("the cohort has no events")
    rng = np.random.default_rng([seed, 1])
    hours = _hours_after_start(raw)
    starts = _starts(golden)
    pieces = [pl.DataFrame(schema=EVENT_COLUMNS)]
    for code in sorted(raw.events["code"].unique().to_list()):
        here = (raw.events["code"] == code).to_numpy()
        counts = raw.events.filter(here)["subject_id"].value_counts()["count"].to_numpy()
        if len(counts) < FEWEST:
            continue
        share = len(counts) / raw.n_subjects
        number = np.where(rng.random(len(golden)) < share, 1 + rng.poisson(counts.mean() - 1, len(golden)), 0)
        rows = np.repeat(np.arange(len(golden)), number)
        after = _drawn(hours[here], len(rows), rng)
        values = _drawn(raw.events.filter(here)["numeric_value"].fill_null(float("nan")).to_numpy(), len(rows), rng)
        moments = [
            None if np.isnan(each) else starts[row] + timedelta(hours=float(each))
            for row, each in zip(rows, after, strict=True)
        ]
        pieces.append(
            pl.DataFrame(
                {
                    "subject_id": golden["subject"][rows],
                    "time": pl.Series(moments, dtype=EVENT_COLUMNS["time"]),
                    "code": pl.repeat(code, len(rows), dtype=pl.String, eager=True),
                    "numeric_value": pl.Series(values).fill_nan(None),
                    "text_value": pl.Series([None] * len(rows), dtype=pl.String),
                }
            )
        )
    return pl.concat(pieces)


def _starts(cohort: Cohort) -> list[datetime]:
    """The time that each row's events are counted from: its own, or 1970-01-01."""
    field = cohort.schema.one("time")
    epoch = pl.Series([0]).cast(pl.Datetime("us")).to_list()[0]
    if field is None:
        return [epoch] * len(cohort)
    return [epoch if each is None else each for each in cohort[field.name].to_list()]


def _hours_after_start(raw: Cohort) -> NDArray[np.float64]:
    """Hours between each event and the first row of its subject, NaN where either is not known."""
    if raw.events is None:
        raise ValueError("the cohort has no events")
    first = pl.DataFrame({"subject_id": raw["subject"], "start": pl.Series(_starts(raw), dtype=pl.Datetime("us"))})
    first = first.group_by("subject_id").agg(pl.col("start").min())
    joined = raw.events.join(first, on="subject_id", how="left", maintain_order="left")
    seconds = (joined["time"] - joined["start"]).dt.total_microseconds().cast(pl.Float64)
    return (seconds / 3.6e9).fill_null(float("nan")).to_numpy()


def _drawn(values: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """n draws between the quantiles of the known values; NaN where fewer than five are known."""
    known = values[~np.isnan(values)]
    if len(known) < FEWEST:
        return np.full(n, np.nan)
    return np.interp(rng.uniform(0.01, 0.99, n), _AT, np.quantile(known, _AT))
