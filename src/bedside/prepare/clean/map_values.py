"""Values mapped by a table in the plan: diagnosis codes to groups, age bands to numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field, physical_type
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Evidence
from bedside.prepare.clean.base import Cleaner, check_choice, counted

_WAY_OUT = "write {value: new}, or a list of {is: [values], to: new} and {from: 390, below: 460, to: new}"


@dataclass
class MapValues(Cleaner):
    """Each value takes what the first entry of `table` that it meets says.

    `table` is {old: new}, or a list of {is: value or [values], to: new}, {starts: prefix, to: new} and
    {from: a, below: b, to: new} (numbers, or text that reads as one). `otherwise` says what becomes of other values:
    keep, missing, error, or {to: value}. `kind`, `unit` and `levels` describe the result (default: kind as before).
    """

    fields: Sequence[str] | str
    table: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    otherwise: Any = "error"
    kind: str | None = None
    unit: str | None = None
    levels: Sequence[str] | None = None

    name: ClassVar[str] = "map_values"
    scope: ClassVar[Literal["item", "cohort"]] = "item"

    def __post_init__(self) -> None:
        if self.kind not in (None, "number", "category", "ordinal", "boolean"):
            raise PlanError(f"clean step 'map_values': kind {self.kind!r}", "number, category, ordinal or boolean")
        if not isinstance(self.otherwise, Mapping):
            check_choice(self.name, "otherwise", self.otherwise, ("keep", "missing", "error"))
        elif set(self.otherwise) != {"to"}:
            raise PlanError(
                f"clean step 'map_values': otherwise {self.otherwise!r}", "keep, missing, error, {to: value}"
            )
        self._entries()

    def within(self, names: Collection[str]) -> Self | None:
        """The same for these fields."""
        kept = [name for name in self._fields() if name in names]
        return replace(self, fields=kept) if kept else None

    def clean(self, cohort: Cohort) -> tuple[Cohort, Evidence]:
        """Values mapped, counted by field. Raises DataError for a value outside the table when `otherwise` is error."""
        columns, fields, estimates = {}, [], []
        for name in self._fields():
            item, column = cohort.schema[name], cohort.frame[name]
            kind = self.kind or item.kind
            mapped, hit = self._mapped(item, column, kind)
            missed = ~hit & column.is_not_null()
            if self.otherwise == "error" and missed.any():
                raise DataError(
                    f"clean step 'map_values': {int(missed.sum())} value(s) of '{name}' are not in the table",
                    "add them, or say what they become with `otherwise`",
                )
            columns[name] = mapped
            changed = mapped.cast(pl.String).ne_missing(column.cast(pl.String))
            estimates.append(counted("clean_values_changed", int(changed.sum()), cohort, step=self.name, field=name))
            levels = None if self.levels is None else tuple(str(level) for level in self.levels)
            fields.append(
                Field(name, kind, item.roles, unit=self.unit, levels=levels, label=item.label)  # type: ignore[arg-type]
            )
        return cohort.with_columns(columns, fields), Evidence("clean.map_values", tuple(estimates))

    def _mapped(self, item: Field, column: pl.Series, kind: str) -> tuple[pl.Series, pl.Series]:
        """The new column, and which rows met an entry."""
        dtype = physical_type(kind)
        text = pl.col("v") if column.dtype == pl.String else _as_text(column.dtype)
        number = pl.col("v").cast(pl.Float64, strict=False)
        tests = [(_test(entry, text, number), entry["to"]) for entry in self._entries()]
        met = pl.any_horizontal([test for test, _ in tests]).fill_null(False)
        if isinstance(self.otherwise, Mapping):
            rest = _constant(self.otherwise["to"], dtype, item.name)
        elif self.otherwise == "keep" and kind == item.kind:
            rest = pl.col("v")
        elif self.otherwise == "keep":
            raise PlanError(
                f"clean step 'map_values': '{item.name}' changes its kind, so other values cannot be kept",
                "say missing, error, or {to: value}",
            )
        else:
            rest = pl.lit(None, dtype=dtype)
        value: Any = pl.when(pl.col("v").is_null()).then(pl.lit(None, dtype=dtype))
        for test, to in tests:
            value = value.when(test).then(_constant(to, dtype, item.name))
        out = column.alias("v").to_frame().select(value=value.otherwise(rest).cast(dtype), met=met)
        return out["value"], out["met"]

    def _fields(self) -> list[str]:
        return [self.fields] if isinstance(self.fields, str) else list(self.fields)

    def _entries(self) -> list[dict[str, Any]]:
        if isinstance(self.table, Mapping):
            return [{"is": [old], "to": new} for old, new in self.table.items()]
        entries = []
        for entry in self.table:
            keys = set(entry) if isinstance(entry, Mapping) else set()
            if keys not in ({"is", "to"}, {"starts", "to"}, {"from", "below", "to"}):
                raise PlanError(f"clean step 'map_values': cannot read {entry!r}", _WAY_OUT)
            entries.append(dict(entry))
        return entries


def _test(entry: Mapping[str, Any], text: pl.Expr, number: pl.Expr) -> pl.Expr:
    if "is" in entry:
        values = entry["is"] if isinstance(entry["is"], list | tuple) else [entry["is"]]
        return text.is_in([_written(value) for value in values])
    if "starts" in entry:
        return text.str.starts_with(str(entry["starts"]))
    return (number >= float(entry["from"])) & (number < float(entry["below"]))


def _as_text(dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Float64:
        whole = pl.col("v") == pl.col("v").round(0)
        return (
            pl.when(whole)
            .then(pl.col("v").cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(pl.col("v").cast(pl.String))
        )
    return pl.col("v").cast(pl.String)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _constant(value: Any, dtype: pl.DataType, name: str) -> pl.Expr:
    if value is None:
        return pl.lit(None, dtype=dtype)
    if dtype == pl.String:
        return pl.lit(_written(value))
    wanted = bool if dtype == pl.Boolean else (int, float)
    if not isinstance(value, wanted) or (dtype == pl.Float64 and isinstance(value, bool)):
        raise PlanError(f"clean step 'map_values': '{name}' cannot become {value!r}", "match `kind` and the new values")
    return pl.lit(value, dtype=dtype)
