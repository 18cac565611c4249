"""Values: what text may mean, told by looking at all of it, and converted without losing any."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from bedside.cohort.schema import FILE_KINDS
from bedside.errors import DataError
from bedside.intake.declare import Column

MAX_LEVELS = 1000

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_TIME = (
    r"^(?<day>\d{4}[-/]\d\d[-/]\d\d)"
    r"(?:[T ](?<clock>\d{1,2}:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(?<zone>Z|[+-]\d\d:?\d\d)?)?$"
)
_WAY_OUT = "declare these values as `missing`, or the field with another kind"


def clean_text(column: pl.Series, missing: tuple[frozenset[str], frozenset[float]]) -> pl.Series:
    """Text without outer blanks, null where it is one of the missing codes (numbers compare as numbers)."""
    texts, numbers = missing
    out = column.str.strip_chars()
    gone = out.is_in(list(texts))
    if numbers:
        gone = gone | out.cast(pl.Float64, strict=False).is_in(list(numbers)).fill_null(False)
    return out.set(gone, None)


@dataclass
class Survey:
    """What has been seen of a column of text so far; `look` takes it batch by batch."""

    rows: int = 0
    present: int = 0
    not_number: int = 0
    whole: bool = True
    rising: bool = True
    last: float = float("-inf")
    not_boolean: int = 0
    not_time: int = 0
    comma: int = 0
    length: int = 0
    distinct: set[str] | None = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)

    def look(self, column: pl.Series) -> None:
        """Take in a batch of text (null where missing)."""
        self.rows += len(column)
        there = column.drop_nulls()
        if there.is_empty():
            return
        self.present += len(there)
        self.length += int(there.str.len_bytes().sum())
        numbers = there.cast(pl.Float64, strict=False)
        bad = ~numbers.is_finite().fill_null(False)
        strange = there.filter(bad)
        self.not_number += len(strange)
        self.not_time += len(there) - len(strange)
        self.not_boolean += len(there) - len(strange)
        if strange.is_empty():
            self._look_at_numbers(numbers)
        else:
            self._look_at_words(strange)
        self._remember(there)

    def look_at_numbers(self, column: pl.Series) -> None:
        """Take in a batch of numbers (null where missing)."""
        self.rows += len(column)
        there = column.drop_nulls()
        if not there.is_empty():
            self.present += len(there)
            self._look_at_numbers(there)
            self._remember(there.head(10 * MAX_LEVELS).cast(pl.String))

    def _remember(self, there: pl.Series) -> None:
        if self.distinct is not None:
            self.distinct |= set(there.unique().head(MAX_LEVELS + 1))
            if len(self.distinct) > MAX_LEVELS:
                self.distinct = None

    def _look_at_numbers(self, numbers: pl.Series) -> None:
        self.whole = self.whole and bool((numbers == numbers.round(0)).all())
        first, last = float(numbers[0]), float(numbers[-1])
        self.rising = self.rising and self.last < first and bool((numbers.diff().drop_nulls() > 0).all())
        self.last = last

    def _look_at_words(self, strange: pl.Series) -> None:
        self.comma += int(strange.str.contains(r"^[+-]?\d+,\d+$").sum())
        if len(self.words) <= 3:
            self.words |= set(strange.unique().head(4))
        if not self.not_boolean:
            self.not_boolean += int((~strange.str.to_lowercase().is_in(["true", "false"])).sum())
        times = strange.str.contains(_plain(_TIME))
        self.not_time += int((~times).sum())
        if times.any():
            zones = strange.filter(times).str.extract(_TIME, 3)
            self.zones |= {"none" if zone is None else zone for zone in zones.unique()}

    def kind(self) -> str:
        """The kind that all values seen allow: number, boolean, time, category when few distinct, else text."""
        if not self.not_number:
            return "number"
        if not self.not_boolean:
            return "boolean"
        if not self.not_time:
            return "time"
        return "category" if self.few() else "text"

    @property
    def row_number(self) -> bool:
        """Whether these are more than ten whole numbers that only rise from row to row."""
        return not self.not_number and self.whole and self.rising and self.present > 10

    def few(self) -> bool:
        """Few enough distinct values for a category: ≤ 20 seen twice on average, ≤ 1000 seen ten times, or two."""
        if self.distinct is None:
            return False
        n = len(self.distinct)
        return (n <= 20 and n * 2 <= self.present) or n * 10 <= self.present or n <= 2

    def doubt(self) -> dict[str, Any] | None:
        """What a person should look at, with no value shown that could be identity (shapes only).

        `all_missing`; `decimal_comma`; `number_but_for` a few words (a missing code?); `row_number` (whole numbers that
        only rise: an id or the file's order, which may tell the outcome, so it is no input unless declared);
        `number_or_code` (few whole numbers).
        """
        if self.present == 0:
            return {"doubt": "all_missing"}
        if 0 < self.comma == self.not_number:
            return {"doubt": "decimal_comma", "count": self.comma}
        if 0 < self.not_number <= 0.5 * self.present and len(self.words) <= 3:
            shapes = sorted({shape(word) for word in self.words})
            return {"doubt": "number_but_for", "shapes": shapes, "count": self.not_number}
        if self.row_number:
            return {"doubt": "row_number"}
        few = self.distinct is not None and 3 <= len(self.distinct) <= 6
        if not self.not_number and self.whole and few and self.present > 10:
            return {"doubt": "number_or_code", "levels": len(self.distinct or ())}
        return None


def refuse_mixed_zones(seen: Survey, declared: Column, where: str) -> None:
    """Raise DataError when a time column without a declared zone holds several zones, or some values without one."""
    if declared.zone is None and declared.format is None and len(seen.zones) > 1:
        raise DataError(
            f"{where}: mixed time zones: {', '.join(sorted(seen.zones)[:5])}",
            "declare the field with `zone: UTC` (or the zone of the values without one) to bring all to UTC",
        )


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
    parts = column.str.extract_groups(_TIME).struct.unnest()
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


def _plain(pattern: str) -> str:
    return re.sub(r"\?<\w+>", "", pattern)
