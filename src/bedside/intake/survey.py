"""Survey: what the values of a column may be, told by looking at all of them, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from bedside.errors import DataError
from bedside.intake.declare import Column
from bedside.intake.values import TIME, shape, without_names

MAX_LEVELS = 1000


class Numbers(NamedTuple):
    """What is known of a batch of numbers: rows, values present, whether all are whole and rise, the ends."""

    rows: int
    present: int
    whole: bool
    rising: bool
    first: float
    last: float


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
        numbers = there.cast(pl.Float64, strict=False)
        bad = ~numbers.is_finite().fill_null(False)
        strange = there.filter(bad)
        self.not_number += len(strange)
        self.not_time += len(there) - len(strange)
        self.not_boolean += len(there) - len(strange)
        if not strange.is_empty():
            self._look_at_words(strange)
        self._remember(there)

    def look_at_numbers(self, numbers: Numbers, few: pl.Series | None) -> None:
        """Take in a batch that holds numbers only, by what is known of it; `few` are its values when they are few."""
        self.rows += numbers.rows
        if not numbers.present:
            return
        self.present += numbers.present
        self.not_time += numbers.present
        self.not_boolean += numbers.present
        self.whole = self.whole and numbers.whole
        self.rising = self.rising and numbers.rising and self.last < numbers.first
        self.last = numbers.last
        if few is None:
            self.distinct = None
        else:
            self._remember(few)

    def _remember(self, there: pl.Series) -> None:
        if self.distinct is not None:
            self.distinct |= set(there.unique().head(MAX_LEVELS + 1))
            if len(self.distinct) > MAX_LEVELS:
                self.distinct = None

    def _look_at_words(self, strange: pl.Series) -> None:
        self.comma += int(strange.str.contains(r"^[+-]?\d+,\d+$").sum())
        if len(self.words) <= 3:
            self.words |= set(strange.unique().head(4))
        if not self.not_boolean:
            self.not_boolean += int((~strange.str.to_lowercase().is_in(["true", "false"])).sum())
        times = strange.str.contains(without_names(TIME))
        self.not_time += int((~times).sum())
        if times.any():
            zones = strange.filter(times).str.extract(TIME, 3)
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


def look_at_all(frame: pl.DataFrame, seen: Mapping[str, Survey]) -> None:
    """Take in a batch of columns, text or numbers; those of numbers only in one pass over all."""
    if not seen:
        return
    known = frame.select([_known(name) for name in seen]).row(0)
    for (name, survey), facts in zip(seen.items(), known, strict=True):
        if facts["numbers"] < facts["present"]:
            survey.look(frame[name])
            continue
        few = None
        if survey.distinct is not None and facts["distinct"] <= MAX_LEVELS:
            few = frame[name].drop_nulls().unique().cast(pl.String)
        numbers = Numbers(frame.height, facts["present"], *(facts[key] for key in ("whole", "rising", "first", "last")))
        survey.look_at_numbers(numbers, few)


def _known(name: str) -> pl.Expr:
    number = pl.col(name).cast(pl.Float64, strict=False)
    there = number.drop_nulls()
    return pl.struct(
        present=pl.col(name).count(),
        numbers=number.is_finite().sum(),
        whole=(number == number.round()).all(),
        rising=(there.diff() > 0).all(),
        first=there.first(),
        last=there.last(),
        distinct=pl.col(name).n_unique(),
    ).alias(name)


def refuse_mixed_zones(seen: Survey, declared: Column, where: str) -> None:
    """Raise DataError when a time column without a declared zone holds several zones, or some values without one."""
    if declared.zone is None and declared.format is None and len(seen.zones) > 1:
        raise DataError(
            f"{where}: mixed time zones: {', '.join(sorted(seen.zones)[:5])}",
            "declare the field with `zone: UTC` (or the zone of the values without one) to bring all to UTC",
        )
