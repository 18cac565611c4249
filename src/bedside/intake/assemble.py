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
from bedside.intake.values import Survey, clean_text, localised, refuse_mixed_zones, to_kind


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
    columns: list[pl.Series] = []
    fields: list[Field] = []
    inferred: dict[str, str] = {}
    doubts: list[dict[str, Any]] = []
    for column in frame.get_columns():
        name, where = column.name, f"{label}: column '{column.name}'"
        if name in special:
            columns.append(clean_text(as_text(column, where), declared.missing_of(name)))
            continue
        said = declared.columns.get(name, Column())
        wish = said.field.get("kind")
        natural, seen = _natural_kind(column.dtype), Survey()
        if natural is not None and wish in (None, natural):
            out = _without(_native(column, said, where), declared.missing_of(name)[1])
            if natural == "number":
                seen.look_at_numbers(out)
            item = declared.field_of(name, natural, useful=not seen.row_number)
        else:
            text = clean_text(as_text(column, where), declared.missing_of(name))
            seen.look(text)
            item = declared.field_of(name, seen.kind() if column.dtype == pl.String else "category")
            if item.kind == "time":
                refuse_mixed_zones(seen, said, where)
            out = to_kind(text, item.kind, said, where)
        doubt = seen.doubt() if seen.rows else None
        if doubt is not None and wish is None:
            doubts.append({"column": name, **doubt})
        if isinstance(column.dtype, pl.Enum) and item.levels is None and item.kind in ("category", "ordinal"):
            item = replace(item, levels=tuple(column.dtype.categories.to_list()))
        if wish is None:
            inferred[name] = item.kind
        columns.append(out)
        fields.append(item)
    return pl.DataFrame(columns), fields, {"inferred": inferred, "doubts": doubts}


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
