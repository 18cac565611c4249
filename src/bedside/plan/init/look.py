"""Looking at a table for `bedside init`: what each column seems to be, what looks doubtful. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, Schema
from bedside.models.task import labels
from bedside.plan.init import names

T = TypeVar("T")

MOST_CLASSES = 20
MOST_CODES = 10
LOW_CODES = (-1.0, -9.0, -99.0, -999.0, -9999.0)
HIGH_CODES = (9.0, 99.0, 999.0, 9999.0)


@dataclass(frozen=True)
class Suspect:
    """A value that may stand for missing: column → in how many rows it stands. `zero` where zero is impossible."""

    code: str | float
    columns: Mapping[str, int]

    @property
    def rows(self) -> int:
        """In how many cells it stands."""
        return sum(self.columns.values())


@dataclass(frozen=True)
class Look:
    """What a table seems to hold; candidates are most likely first.

    `sure` says whether the first target stands out by its name. `subject`, `row_id` are columns that the reader takes
    by their very name. `coded` are whole numbers of few levels that may be codes, `ages` those sensitive fields that
    hold years. `ignore` maps a column to why. `after` are fields that sound as though they were written after the
    outcome. `duplicates` counts rows that equal an earlier one in all but their ids.
    """

    cohort: Cohort
    subject: str | None
    row_id: str | None
    targets: tuple[str, ...]
    sure: bool
    subjects: tuple[str, ...]
    row_ids: tuple[str, ...]
    site: str | None
    time: str | None
    sensitive: tuple[str, ...]
    ages: tuple[str, ...]
    coded: tuple[str, ...]
    ignore: Mapping[str, str]
    after: tuple[str, ...]
    suspects: tuple[Suspect, ...]
    duplicates: int


def look(cohort: Cohort) -> Look:
    """Look at a table read with nothing declared but, where there is one, its data dictionary."""
    read = cohort.lineage[0].parameters if cohort.lineage else {}
    schema, fields = cohort.schema, cohort.schema.fields
    distinct = {item.name: _distinct(cohort[item.name]) for item in fields}
    subjects = _subjects(cohort, distinct)
    row_ids = _row_ids(cohort, distinct, subjects)
    identity = {*subjects, *row_ids}
    ignore = {
        item.name: why
        for item in fields
        if item.name not in identity and (why := _why_ignore(cohort, item, distinct[item.name])) is not None
    }
    rest = [item for item in fields if item.name not in identity and item.name not in ignore]
    sensitive = tuple(
        item.name for item in rest if "sensitive" in item.roles or _is_sensitive(item, distinct[item.name])
    )
    site = schema.one("site") or _first(item for item in rest if _is_site(item, distinct[item.name], len(cohort)))
    site_name = None if site is None else site.name
    scored = _targets(cohort, [item for item in rest if item.name not in {*sensitive, site_name}], distinct)
    best = list(scored.values())
    return Look(
        cohort=cohort,
        subject=read.get("subject"),
        row_id=read.get("row_id"),
        targets=tuple(scored),
        sure=bool(best) and best[0] >= 3 and (len(best) == 1 or best[0] - best[1] >= 1),
        subjects=subjects,
        row_ids=row_ids,
        site=site_name,
        time=_time(schema, rest),
        sensitive=sensitive,
        ages=tuple(item.name for item in rest if _is_age(item, cohort[item.name])),
        coded=tuple(item.name for item in rest if _is_coded(item, cohort[item.name], distinct[item.name])),
        ignore=ignore,
        after=tuple(item.name for item in rest if names.says(item.name, "after")),
        suspects=tuple(_suspects(cohort, rest)),
        duplicates=_duplicates(cohort, [item.name for item in rest]),
    )


def kind_of_target(cohort: Cohort, name: str) -> str:
    """ "classify" or "regress": a number is a class when it is whole and has at most 20 values."""
    column = cohort[name]
    if cohort.schema[name].kind != "number":
        return "classify"
    return "classify" if _distinct(column) <= MOST_CLASSES and _whole(column) else "regress"


def classes(cohort: Cohort, name: str) -> dict[str, int]:
    """The classes of a target with their number of rows, sorted by name."""
    counts = labels(cohort[name]).drop_nulls().value_counts()
    return dict(sorted(zip(counts[name].to_list(), counts["count"].to_list(), strict=True)))


def likely_positive(counts: Mapping[str, int]) -> tuple[str, bool]:
    """Which of two classes is the event, and whether its words say so; else the rarer one."""
    words = {label: {label.strip().lower(), *names.tokens(label)} for label in counts}
    denied = [label for label in counts if words[label] & names.values("no_event")]
    said = [label for label in counts if label not in denied and words[label] & names.values("event")]
    if len(said) == 1:
        return said[0], True
    if len(denied) == 1:
        return next(label for label in counts if label not in denied), True
    return min(counts, key=lambda label: (counts[label], label)), False


def headless(cohort: Cohort) -> bool:
    """Whether the names of the columns are values of their own columns, as where a file has no row of names."""
    hits = 0
    for item in cohort.schema.fields:
        column = cohort[item.name]
        if column.dtype == pl.Float64:
            number = pl.Series([item.name]).cast(pl.Float64, strict=False)[0]
            hits += number is not None and bool((column == number).any())
        elif column.dtype == pl.String:
            hits += bool((column == item.name).any())
    return hits >= 2 and hits * 2 >= len(cohort.schema.fields)


def _distinct(column: pl.Series) -> int:
    return column.drop_nulls().n_unique()


def _whole(column: pl.Series) -> bool:
    known = column.drop_nulls()
    return bool((known == known.round(0)).all())


def _first(found: Iterable[T]) -> T | None:
    return next(iter(found), None)


def _mostly_number(column: pl.Series) -> bool:
    """Whether text would be a number but for some words."""
    known = column.drop_nulls()
    numbers = known.cast(pl.Float64, strict=False)
    return len(known) > 0 and numbers.null_count() < 0.5 * len(known)


def _subjects(cohort: Cohort, distinct: Mapping[str, int]) -> tuple[str, ...]:
    """Columns that may name the patient: by their name, or ids that repeat; none with a missing value."""
    rows, by_name, repeating = len(cohort), [], []
    for item in cohort.schema.fields:
        column = cohort[item.name]
        if item.kind in ("boolean", "time") or column.null_count() or (item.kind == "number" and not _whole(column)):
            continue
        if names.names_a_patient(item.name) and distinct[item.name] > 2:
            by_name.append(item.name)
        elif names.names_an_id(item.name) and max(20, rows / 20) <= distinct[item.name] < rows:
            repeating.append(item.name)
    return (*by_name, *repeating)


def _row_ids(cohort: Cohort, distinct: Mapping[str, int], subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Columns whose every value is another and whose name is that of a record."""
    rows = len(cohort)
    found = [
        item.name
        for item in cohort.schema.fields
        if item.name not in subjects
        and distinct[item.name] == rows > 2
        and item.kind in ("number", "category", "text")
        and names.names_a_record(item.name)
        and (item.kind != "number" or _whole(cohort[item.name]))
    ]
    return tuple(sorted(found, key=lambda name: not names.names_an_id(name)))


def _why_ignore(cohort: Cohort, item: Field, distinct: int) -> str | None:
    column, rows = cohort[item.name], len(cohort)
    if distinct == 0:
        return "empty"
    if distinct == 1 and not column.null_count():
        return "the same in every row"
    many = distinct > max(20, rows / 2)
    if names.says(item.name, "birth") and (many or item.kind in ("time", "text")):
        return "a birth date identifies"
    coded = item.kind == "category" or (item.kind == "number" and _whole(column))
    if names.says(item.name, "identifies") and (item.kind == "text" or (many and coded)):
        return "identifies a person"
    if item.kind == "text" and not _mostly_number(column):
        return "free text, or an id"
    if many and names.names_an_id(item.name) and (item.kind == "text" or coded):
        return "an id"
    return None


def _is_site(item: Field, distinct: int, rows: int) -> bool:
    coded = item.kind == "category" or (item.kind == "number" and distinct > 2)
    return coded and 2 <= distinct <= rows / 10 and names.names_a_site(item.name)


def _is_coded(item: Field, column: pl.Series, distinct: int) -> bool:
    """Whole numbers of few values, with nothing declared that would say that they are quantities."""
    return item.kind == "number" and item.unit is None and 3 <= distinct <= MOST_CODES and _whole(column)


def _is_age(item: Field, column: pl.Series) -> bool:
    """An age in years: by its name and by its values."""
    if item.kind != "number" or not _named_age(item.name):
        return False
    low, high = float(str(column.min())), float(str(column.max()))
    return low >= 0 and 20 <= high <= 120


def _named_age(name: str) -> bool:
    return names.says(name, "age") and all(
        names.is_called(word, "age") or names.is_called(word, "beside_age") or "年龄" in word
        for word in names.tokens(name)
    )


def _is_sensitive(item: Field, distinct: int) -> bool:
    if item.kind not in ("number", "category", "boolean", "ordinal") or not names.says(item.name, "sensitive"):
        return False
    return _named_age(item.name) if names.says(item.name, "age") else distinct <= MOST_CLASSES


def _time(schema: Schema, fields: list[Field]) -> str | None:
    declared = schema.one("time")
    if declared is not None:
        return declared.name
    times = [item.name for item in fields if item.kind == "time"]
    return _first([name for name in times if names.says(name, "start")] + times)


def _targets(cohort: Cohort, fields: list[Field], distinct: Mapping[str, int]) -> dict[str, float]:
    """Columns that may be predicted, with a score: declared, then by name, then two classes, then standing last."""
    last = cohort.schema.fields[-1].name if cohort.schema.fields else None
    out: dict[str, float] = {}
    for item in fields:
        if item.kind == "time" or distinct[item.name] < 2:
            continue
        name = item.name
        if "target" in item.roles:
            score = 10.0
        elif kind_of_target(cohort, name) == "regress":
            score = 3.0 if names.says(name, "number_target") else 0.0
        elif distinct[name] > MOST_CLASSES or item.kind == "text":
            continue
        elif names.is_called(name, "target_name"):
            score = 4.0
        else:
            score = 3.0 if names.says(name, "target") else 1.0 if names.says(name, "weak_target") else 0.0
        if score or name == last:
            out[name] = score + (distinct[name] == 2) + (name == last)
    return dict(sorted(out.items(), key=lambda each: -each[1]))


def _suspects(cohort: Cohort, fields: list[Field]) -> Iterable[Suspect]:
    """Values that may stand for missing, the commonest first."""
    found: dict[str | float, dict[str, int]] = {}
    for item in fields:
        column = cohort[item.name].drop_nulls()
        if item.kind in ("category", "ordinal", "text"):
            seen = _words(column)
        elif item.kind == "number":
            seen = _numbers(item.name, column)
        else:
            continue
        for code, count in seen.items():
            found.setdefault(code, {})[item.name] = count
    return sorted((Suspect(*each) for each in found.items()), key=lambda suspect: -suspect.rows)


def _words(column: pl.Series) -> dict[str | float, int]:
    lower = column.str.strip_chars().str.to_lowercase()
    hits = column.filter(lower.is_in(list(names.values("missing")))).str.strip_chars()
    counts = hits.value_counts()
    return dict(zip(counts[column.name].to_list(), counts["count"].to_list(), strict=True))


def _numbers(name: str, column: pl.Series) -> dict[str | float, int]:
    """Codes that stand apart from all other values, and zeros of what nobody alive has at zero."""
    out: dict[str | float, int] = {}
    if column.n_unique() < 3:
        return out
    hits = column.filter(column.is_in([0.0, *LOW_CODES, *HIGH_CODES]))
    if hits.is_empty():
        return out
    counts = {float(code): int((hits == code).sum()) for code in hits.unique().to_list()}
    low = column.filter(column < 0)
    if len(low) and low.n_unique() == 1 and counts.get(float(low[0]), 0) >= 2:
        out[float(low[0])] = counts[float(low[0])]
    top = float(str(column.max()))
    below = float(str(column.filter(column < top).max()))
    if top in HIGH_CODES and counts[top] >= 3 and below < top / 2:
        out[top] = counts[top]
    positive = column.filter((column > 0) & (column < top if top in out else column <= top))
    if counts.get(0.0) and len(positive) and names.says(name, "never_zero") and positive.n_unique() >= 10:
        least, middle = float(str(positive.min())), float(str(positive.median()))
        if least >= 0.05 * middle and counts[0.0] <= 0.6 * len(column):
            out[0.0] = counts[0.0]
    return out


def _duplicates(cohort: Cohort, columns: list[str]) -> int:
    return 0 if not columns else len(cohort) - cohort.frame.select(columns).n_unique()
