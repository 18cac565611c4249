"""Values: text as numbers, booleans and times, none lost."""

from __future__ import annotations

import re

import polars as pl

from bedside.cohort.schema import FILE_KINDS
from bedside.errors import DataError
from bedside.intake.declare import Column

Missing = tuple[frozenset[str], frozenset[float]]

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
TIME = (
    r"^(?<day>\d{4}[-/]\d\d[-/]\d\d)"
    r"(?:[T ](?<clock>\d{1,2}:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(?<zone>Z|[+-]\d\d:?\d\d)?)?$"
)
_WAY_OUT = "declare these values as `missing`, or the field with another kind"


def clean_text(column: pl.Series, missing: Missing) -> pl.Series:
    """Text without outer blanks, null where it is one of the missing codes (numbers compare as numbers)."""
    return column.to_frame("v").select(cleaned("v", missing)).to_series().alias(column.name)


def cleaned(name: str, missing: Missing, decimal: str = ".") -> pl.Expr:
    """`clean_text` of a column as an expression; another decimal sign becomes a point."""
    texts, numbers = missing
    out = pl.col(name).str.strip_chars()
    if decimal != ".":
        sign = f"[{decimal}]" if decimal not in "^]\\" else "\\" + decimal
        out = out.str.replace(rf"^([+-]?\d*){sign}(\d+)$", "${1}.${2}")
    gone = out.is_in(list(texts))
    if numbers:
        gone = gone | out.cast(pl.Float64, strict=False).is_in(list(numbers)).fill_null(False)
    return pl.when(gone).then(None).otherwise(out).alias(name)


def shape(value: str) -> str:
    """A value with every letter as a, every digit as 9, at most 20 long: enough to find it, not to know a patient."""
    out = "".join("9" if c.isdigit() else "a" if c.isalpha() else c if c.isprintable() else "?" for c in value)
    return out if len(out) <= 20 else out[:19] + "…"


def to_kind(column: pl.Series, kind: str, declared: Column, where: str, before: int = 0) -> pl.Series:
    """Text (null where missing) as the physical type of a kind.

    `where` names file and column, `before` is the number of rows before this batch. Raises DataError with the first
    three rows whose value does not fit, by shape.
    """
    if kind == "number":
        out = column.cast(pl.Float64, strict=False)
        _refuse(column, ~out.is_finite().fill_null(False), where, before, "a number")
        return out
    if kind == "boolean":
        lower = column.str.to_lowercase()
        out = lower.replace_strict(
            dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False), default=None, return_dtype=pl.Boolean
        )
        _refuse(column, out.is_null(), where, before, "true or false")
        return out
    if kind == "time":
        return _to_time(column, declared, where, before)
    if kind in FILE_KINDS:
        raise DataError(f"{where}: a table cannot hold the kind '{kind}'", "use the reader of that kind")
    return column


def _to_time(column: pl.Series, declared: Column, where: str, before: int) -> pl.Series:
    if declared.format is not None:
        out = column.str.to_datetime(declared.format, strict=False, time_unit="us")
        if isinstance(out.dtype, pl.Datetime) and out.dtype.time_zone is not None:
            out = out.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        elif declared.zone is not None:
            out = localised(out, declared.zone, where)
        _refuse(column, out.is_null(), where, before, f"a time like {declared.format}")
        return out
    parts = column.str.extract_groups(TIME).struct.unnest()
    clock = pl.col("clock").fill_null("00:00")
    clock = pl.when(clock.str.count_matches(":") == 1).then(clock + ":00").otherwise(clock)
    clock = pl.when(clock.str.contains(r"^\d:")).then("0" + clock).otherwise(clock)
    stamp = (pl.col("day").str.replace_all("/", "-") + " " + clock).str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us"
    )
    offset = pl.col("zone").str.replace("Z", "+00:00").str.replace(":", "").cast(pl.Int64)
    minutes = offset.abs() // 100 * 60 + offset.abs() % 100
    shift = pl.duration(minutes=pl.when(offset < 0).then(-minutes).otherwise(minutes), time_unit="us")
    times = parts.select(local=stamp, utc=stamp - shift)
    local = times["local"]
    _refuse(column, local.is_null(), where, before, "an ISO 8601 time")
    local = local if declared.zone is None else localised(local, declared.zone, where)
    return times.select(pl.coalesce("utc", local)).to_series().alias(column.name)


def localised(column: pl.Series, zone: str, where: str) -> pl.Series:
    """Local times of a zone as UTC without zone; raises DataError for an unknown zone."""
    try:
        local = column.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError:
        raise DataError(f"{where}: time zone '{zone}' is not known", "write one like Europe/Berlin or UTC") from None
    return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _refuse(column: pl.Series, failed: pl.Series, where: str, before: int, wanted: str) -> None:
    bad = failed & column.is_not_null()
    count = int(bad.sum())
    if count:
        first = bad.arg_true().head(3).to_list()
        rows = ", ".join(f"{before + i + 1} ({shape(column[i])})" for i in first)
        raise DataError(f"{where}: {count} value(s) are not {wanted}: row {rows}{' …' if count > 3 else ''}", _WAY_OUT)


def without_names(pattern: str) -> str:
    """A pattern with its named groups made plain, which polars' `contains` wants."""
    return re.sub(r"\?<\w+>", "", pattern)
