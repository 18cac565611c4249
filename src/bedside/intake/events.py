"""Events: a long table of what happened to whom and when, beside a table of the rows to predict for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bedside.cohort.cohort import EVENT_COLUMNS, Cohort, Origin
from bedside.cohort.schema import Schema
from bedside.errors import DataError
from bedside.intake.declare import Column
from bedside.intake.survey import Survey, refuse_mixed_zones
from bedside.intake.tables import Tables
from bedside.intake.values import clean_text, to_kind

_CLOCKS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}


@dataclass(frozen=True)
class Events:
    """Reads a long event table (one event a row) and, from `outcomes`, the table of rows with their target.

    `subject`, `time`, `code` and `value` name the event table's columns; a value that is no number becomes text.
    `clock` says how time is written: iso, hh:mm, or a number of days, hours, minutes or seconds; all but iso count
    from the row's start and are stored from 1970-01-01 on. An event without a time holds always. `missing` are codes
    for a missing value, everywhere or by event code ([-999, {Height: [-1]}]). `rows` holds further parameters of
    `tables` for the outcomes (target, start as time, fields, ignore …); their subject column is called as here unless
    they say otherwise. Without `outcomes` each subject is one row.
    """

    subject: str = "subject_id"
    time: str = "time"
    code: str = "code"
    value: str = "value"
    clock: str = "iso"
    zone: str | None = None
    missing: Any = None
    outcomes: str | None = None
    rows: Mapping[str, Any] | None = None
    separator: str | None = None
    encoding: str | None = None
    member: str | None = None
    query: str | None = None

    name: ClassVar[str] = "events"
    paths: ClassVar[tuple[str, ...]] = ("outcomes",)

    def __post_init__(self) -> None:
        if self.clock not in ("iso", "hh:mm", *_CLOCKS):
            raise DataError(f"clock is {self.clock!r}", f"one of iso, hh:mm, {', '.join(_CLOCKS)}")
        if self.rows is not None and not isinstance(self.rows, Mapping):
            raise DataError(f"rows is {str(self.rows)[:40]!r}", "write {target: name, ignore: [names]}")

    def read(self, path: Path | str) -> Cohort:
        """The cohort of the outcomes' rows with the events of their subjects; others are counted and left out."""
        columns = [self.subject, self.time, self.code, self.value]
        table = Tables(
            subject=self.subject,
            columns=columns,
            fields={name: {"kind": "text"} for name in columns[1:]},
            separator=self.separator,
            encoding=self.encoding,
            member=self.member,
            query=self.query,
        ).read(path)
        events = self._events(str(path), table)
        rows = self._rows(events)
        known = pl.col("subject_id").is_in(rows["subject"].unique().implode())
        kept = events.filter(known)
        subjects = kept["subject_id"].n_unique()
        told = {
            "reader": self.name,
            "events": table.lineage[0].to_json(),
            "clock": self.clock,
            "events_of_unknown_subjects": events.height - kept.height,
            "subjects_without_events": rows.n_subjects - subjects,
        }
        cohort = replace(rows, events=kept)
        return cohort.with_origin(Origin("read", told, table.lineage[0].inputs))

    def _rows(self, events: pl.DataFrame) -> Cohort:
        if self.outcomes is None:
            subjects = events["subject_id"].unique(maintain_order=True)
            frame = pl.DataFrame({"row_id": subjects, "subject": subjects})
            return Cohort(Schema(identity="declared"), frame)
        try:
            reader = Tables(**{"subject": self.subject, **(self.rows or {})})
        except TypeError as error:
            raise DataError(f"rows: {error}", "they take the parameters of the reader `tables`") from None
        return reader.read(self.outcomes)

    def _events(self, label: str, table: Cohort) -> pl.DataFrame:
        code = table[self.code].str.strip_chars()
        empty = int(code.is_null().sum())
        if empty:
            raise DataError(f"{label}: column '{self.code}' has {empty} missing values", "say what each event is")
        value = self._value(table[self.value], code)
        number = value.cast(pl.Float64, strict=False)
        number = number.set(~number.is_finite().fill_null(True), None)
        text = value.set(number.is_not_null(), None)
        columns = [table["subject"], self._time(label, table[self.time]), code, number, text]
        return pl.DataFrame([c.alias(name) for c, name in zip(columns, EVENT_COLUMNS, strict=True)]).cast(
            dict(EVENT_COLUMNS.items())
        )

    def _value(self, column: pl.Series, code: pl.Series) -> pl.Series:
        spec = (
            self.missing if isinstance(self.missing, list | tuple) else [] if self.missing is None else [self.missing]
        )
        everywhere = [each for each in spec if not isinstance(each, Mapping)]
        out = clean_text(column, _codes(everywhere))
        for each in spec:
            for name, values in each.items() if isinstance(each, Mapping) else ():
                gone = clean_text(out, _codes(list(values) if isinstance(values, list | tuple) else [values])).is_null()
                out = out.set(gone & (code == name), None)
        return out

    def _time(self, label: str, column: pl.Series) -> pl.Series:
        where = f"{label}: column '{self.time}'"
        text = clean_text(column, _codes([]))
        if self.clock == "iso":
            seen, said = Survey(), Column(zone=self.zone)
            seen.look(text)
            refuse_mixed_zones(seen, said, where)
            return to_kind(text, "time", said, where)
        if self.clock == "hh:mm":
            parts = text.str.extract_groups(r"^(?<h>\d{1,6}):(?<m>[0-5]\d)$").struct.unnest()
            minutes = parts["h"].cast(pl.Float64) * 60 + parts["m"].cast(pl.Float64)
            bad = int((minutes.is_null() & text.is_not_null()).sum())
            if bad:
                raise DataError(f"{where}: {bad} value(s) are not hh:mm", "say another `clock`")
            micro = minutes * _CLOCKS["minutes"]
        else:
            micro = to_kind(text, "number", Column(), where) * _CLOCKS[self.clock]
        if bool((micro.abs() > 2**62).any()):
            raise DataError(f"{where}: times beyond any life", "say another `clock`")
        return micro.round(0).cast(pl.Int64).cast(pl.Datetime("us"))


def _codes(values: list[Any]) -> tuple[frozenset[str], frozenset[float]]:
    texts = {"", "NA", "NaN", "nan", "null", "NULL", *(each for each in values if isinstance(each, str))}
    numbers = {float(each) for each in values if isinstance(each, int | float) and not isinstance(each, bool)}
    return frozenset(texts), frozenset(numbers)
