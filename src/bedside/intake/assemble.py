"""From converted columns to a Cohort: ids checked, roles given, everything inferred told in the lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from bedside.cohort.cohort import Cohort, Origin
from bedside.cohort.schema import Field, Schema
from bedside.errors import DataError
from bedside.intake.declare import Column, Declarations
from bedside.intake.survey import Survey, look_at_all, refuse_mixed_zones
from bedside.intake.values import clean_text, localised, to_kind


def assemble(
    label: str,
    frame: pl.DataFrame,
    fields: Sequence[Field],
    *,
    subject: str | None,
    row_id: str | None,
    origin: Origin,
) -> Cohort:
    """The cohort of columns in their physical types; subject and row id columns are text under their own names.

    Raises DataError for a missing subject, a missing or repeated row id, and a target without any value.
    """
    for name in (subject, row_id):
        if name is not None and frame[name].null_count():
            empty = frame[name].is_null().arg_true()
            raise DataError(
                f"{label}: column '{name}' has {len(empty)} missing values (first in row {empty[0] + 1})",
                "fill them or leave these rows out: who a row belongs to must be known",
            )
    if row_id is not None and frame[row_id].n_unique() < frame.height:
        rows = [str(i + 1) for i in (~frame[row_id].is_first_distinct()).arg_true().head(3)]
        count = frame.height - frame[row_id].n_unique()
        raise DataError(
            f"{label}: column '{row_id}' repeats an id in {count} row(s): {', '.join(rows)}{' …' if count > 3 else ''}",
            "name another `row_id`, or none to number the rows; is it the `subject`?",
        )
    for item in fields:
        if "target" in item.roles and frame.height and frame[item.name].null_count() == frame.height:
            raise DataError(f"{label}: target '{item.name}' has no value at all", "name another target")
    ids = pl.int_range(frame.height, eager=True).cast(pl.String) if row_id is None else frame[row_id]
    who = ids if subject is None else frame[subject]
    columns = [ids.alias("row_id"), who.alias("subject"), *(frame[item.name] for item in fields)]
    schema = Schema(tuple(fields), identity="row" if subject is None else "declared")
    return Cohort(schema, pl.DataFrame(columns), lineage=(origin,))


def typed_frame(
    label: str, frame: pl.DataFrame, declared: Declarations, special: Sequence[str | None]
) -> tuple[pl.DataFrame, list[Field], dict[str, Any]]:
    """A frame of any polars types as physical types and fields, with what was inferred.

    `special` names the subject and row id columns, which become text. Raises DataError for a type that is no field.
    """
    prepared: dict[str, pl.Series] = {}
    seen: dict[str, Survey] = {}
    for column in frame.get_columns():
        name, where = column.name, f"{label}: column '{column.name}'"
        natural, wish = _natural_kind(column.dtype), _wish(declared, name)
        missing = declared.missing_of(name)
        if name in special or natural is None or wish not in (None, natural):
            prepared[name] = clean_text(as_text(column, where), missing)
        else:
            said = declared.columns.get(name, Column())
            prepared[name] = _without(_native(column, said, where), missing[1])
        if name not in special and prepared[name].dtype in (pl.String, pl.Float64):
            seen[name] = Survey()
    look_at_all(pl.DataFrame(list(prepared.values())), seen)
    fields = [
        _field(label, frame[name], prepared, seen.get(name), declared) for name in frame.columns if name not in special
    ]
    undeclared = [item for item in fields if _wish(declared, item.name) is None]
    doubts = [
        {"column": item.name, **found}
        for item in undeclared
        if item.name in seen and (found := seen[item.name].doubt()) is not None
    ]
    return (
        pl.DataFrame(list(prepared.values())),
        fields,
        {"inferred": {i.name: i.kind for i in undeclared}, "doubts": doubts},
    )


def _field(
    label: str, column: pl.Series, prepared: dict[str, pl.Series], seen: Survey | None, declared: Declarations
) -> Field:
    """The field of a column; its text in `prepared` becomes the physical type of its kind."""
    name, where = column.name, f"{label}: column '{column.name}'"
    if seen is None or prepared[name].dtype == pl.Float64:
        natural = {pl.Float64: "number", pl.Boolean: "boolean"}.get(type(prepared[name].dtype), "time")
        return declared.field_of(name, natural, useful=seen is None or not seen.row_number)
    item = declared.field_of(name, seen.kind() if column.dtype == pl.String else "category", useful=not seen.row_number)
    said = declared.columns.get(name, Column())
    if item.kind == "time":
        refuse_mixed_zones(seen, said, where)
    prepared[name] = to_kind(prepared[name], item.kind, said, where)
    if isinstance(column.dtype, pl.Enum) and item.levels is None and item.kind in ("category", "ordinal"):
        return replace(item, levels=tuple(column.dtype.categories.to_list()))
    return item


def _wish(declared: Declarations, name: str) -> str | None:
    """The kind that is declared of a column, if any."""
    wish: str | None = declared.columns.get(name, Column()).field.get("kind")
    return wish


def as_text(column: pl.Series, where: str) -> pl.Series:
    """A column as text; whole numbers without a decimal point."""
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        raise DataError(f"{where}: holds {column.dtype}, which is no field", "name it in `ignore`, or flatten it")
    if column.dtype.is_float():
        whole = column.fill_nan(None)
        if bool((whole == whole.round(0)).all()) and bool((whole.abs() < 2**53).all()):
            column = whole.cast(pl.Int64)
    return column.cast(pl.String)


def _natural_kind(dtype: pl.DataType) -> str | None:
    """The kind that a polars type is, or None for text."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_numeric() or dtype == pl.Null:
        return "number"
    return "time" if dtype.is_temporal() else None


def _native(column: pl.Series, said: Column, where: str) -> pl.Series:
    """A number, boolean or temporal column in its physical type; times of a zone become UTC."""
    dtype = column.dtype
    if dtype == pl.Boolean:
        return column
    if dtype.is_numeric() or dtype == pl.Null:
        out = column.cast(pl.Float64).fill_nan(None)
        infinite = int(out.is_infinite().sum())
        if infinite:
            raise DataError(f"{where}: {infinite} infinite values", "mend them, or make them missing")
        return out
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        plain = column.cast(pl.Datetime("us"))
        return plain if said.zone is None else localised(plain, said.zone, where)
    raise DataError(f"{where}: holds {dtype}, which is no field", "give durations as a number with `unit: h`")


def _without(column: pl.Series, missing: frozenset[float]) -> pl.Series:
    if not missing or column.dtype != pl.Float64:
        return column
    return column.set(column.is_in(list(missing)), None)


def origin_of(reader: str, source: Mapping[str, Any], parameters: Mapping[str, Any], digest: str | None) -> Origin:
    """The lineage link of a reading: the reader, its source's digest, what was declared absent and inferred."""
    content = {"reader": reader, "source": dict(source), **parameters}
    return Origin("read", content, () if digest is None else (digest,))
