"""Cohort: an immutable, content-addressed table; one row is one unit of prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from bedside.cohort.digest import json_digest, table_digest
from bedside.cohort.schema import RESERVED, Field, Schema, physical_type
from bedside.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bedside.cohort.files import Files

EVENT_COLUMNS = {
    "subject_id": pl.String(),
    "time": pl.Datetime("us"),
    "code": pl.String(),
    "numeric_value": pl.Float64(),
    "text_value": pl.String(),
}


@dataclass(frozen=True)
class Origin:
    """One link of a cohort's lineage: what was done, with which parameters, from which digests."""

    action: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"action": self.action, "parameters": dict(self.parameters), "inputs": list(self.inputs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Origin:
        """The inverse of `to_json`."""
        return cls(data["action"], data["parameters"], tuple(data["inputs"]))


@dataclass(frozen=True, eq=False)
class Cohort:
    """An immutable table with columns `row_id`, `subject` (text) and one column for each field of the schema.

    `events` is an optional long table with MEDS columns (subject_id, time, code, numeric_value, text_value; ids are
    text). `files` know the bytes that file-like fields name by digest; they are no part of the content.

    Raises DataError when a column is missing, has another physical type than its kind, or ids repeat.
    """

    schema: Schema
    frame: pl.DataFrame
    events: pl.DataFrame | None = None
    lineage: tuple[Origin, ...] = ()
    files: Files | None = None

    def __post_init__(self) -> None:
        expected = [*RESERVED, *self.schema.names]
        if self.frame.columns != expected:
            missing = [name for name in expected if name not in self.frame.columns]
            extra = [name for name in self.frame.columns if name not in expected]
            if missing or extra:
                raise DataError(f"columns and schema differ: missing {missing}, not in the schema {extra}")
            object.__setattr__(self, "frame", self.frame.select(expected))
        types = {**dict.fromkeys(RESERVED, pl.String()), **{f.name: physical_type(f.kind) for f in self.schema.fields}}
        found = self.frame.schema  # polars builds it anew at each call, which 10 000 fields would feel
        for name, dtype in types.items():
            if found[name] != dtype:
                raise DataError(f"column '{name}' is {found[name]}, its kind is stored as {dtype}")
        for name in RESERVED:
            if self.frame[name].null_count():
                raise DataError(f"column '{name}' has {self.frame[name].null_count()} empty values")
        if self.frame["row_id"].n_unique() != self.frame.height:
            raise DataError(
                f"row ids repeat: {self.frame.height - self.frame['row_id'].n_unique()} rows have one already used",
                "name another row_id column, or none to number the rows",
            )
        if self.events is not None and dict(self.events.schema) != EVENT_COLUMNS:
            raise DataError(f"events must have the columns {EVENT_COLUMNS}, not {dict(self.events.schema)}")

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Any] | pl.DataFrame,
        fields: Sequence[Field],
        *,
        subject: Sequence[str] | pl.Series | None = None,
        row_id: Sequence[str] | pl.Series | None = None,
        name: str = "cohort",
    ) -> Cohort:
        """A cohort of columns already in memory, cast to the physical type of their kind (NaN becomes missing).

        Raises DataError for a column that is missing or holds values that are not of its kind.
        """
        frame = columns if isinstance(columns, pl.DataFrame) else pl.DataFrame(columns, strict=False)
        ids = [str(i) for i in range(frame.height)] if row_id is None else row_id
        rows = pl.Series("row_id", ids, dtype=pl.String)
        out = [rows, pl.Series("subject", rows if subject is None else subject, dtype=pl.String)]
        held = frame.schema
        for item in fields:
            if item.name not in held:
                raise DataError(f"no column '{item.name}'", "columns: " + ", ".join(frame.columns[:30]))
            try:
                column = frame[item.name].cast(physical_type(item.kind))
            except pl.exceptions.PolarsError:  # its message would print values
                raise DataError(
                    f"column '{item.name}' ({held[item.name]}) holds values that are no {item.kind}",
                    "declare another kind, or name the codes that mean missing",
                ) from None
            out.append((column.fill_nan(None) if item.kind == "number" else column).alias(item.name))
        schema = Schema(tuple(fields), identity="row" if subject is None else "declared", name=name)
        return cls(schema, pl.DataFrame(out))

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        return (
            f"Cohort({self.schema.name!r}: {len(self)} rows, {self.n_subjects} subjects ({self.schema.identity}), "
            f"{len(self.schema.fields)} fields)"
        )

    def __getitem__(self, name: str) -> pl.Series:
        """One column, reserved ones included; raises DataError with the fields there are."""
        if name in RESERVED:
            return self.frame[name]
        return self.frame[self.schema[name].name]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of content: schema, table and events; not of the lineage, nor of where files lie."""
        events = None if self.events is None else table_digest(self.events)
        content = {"format": 1, "schema": self.schema.digest, "table": table_digest(self.frame), "events": events}
        return json_digest(content)

    @cached_property
    def subject_codes(self) -> NDArray[np.int64]:
        """Subjects as integers 0..n_subjects−1 in order of first appearance, shape (rows,)."""
        return first_appearance(self.frame["subject"])

    @property
    def n_subjects(self) -> int:
        """Number of distinct subjects."""
        return int(self.frame["subject"].n_unique())

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> Cohort:
        """The rows at these positions, in this order; events of the subjects that remain."""
        frame = self.frame[np.asarray(rows, dtype=np.int64)]
        events = self.events
        if events is not None:
            events = events.filter(pl.col("subject_id").is_in(frame["subject"].unique().implode()))
        return replace(self, frame=frame, events=events)

    def derive(self, frame: pl.DataFrame, schema: Schema | None = None) -> Cohort:
        """A cohort with another table (and schema), the lineage carried on."""
        return replace(self, frame=frame, schema=schema if schema is not None else self.schema)

    def with_columns(self, columns: Mapping[str, pl.Series], fields: Sequence[Field] = ()) -> Cohort:
        """A cohort with columns replaced or added; `fields` declares the new or changed ones."""
        frame = self.frame.with_columns([values.alias(name) for name, values in columns.items()])
        return self.derive(frame, self.schema.replacing(fields))

    def with_fields(self, fields: Sequence[Field]) -> Cohort:
        """A cohort whose fields are described otherwise (roles, units, ranges); the kinds stay."""
        return replace(self, schema=self.schema.replacing(fields))

    def keeping(self, names: Sequence[str]) -> Cohort:
        """A cohort with only the named fields."""
        schema = self.schema.keeping(names)
        return self.derive(self.frame.select([*RESERVED, *schema.names]), schema)

    def with_origin(self, origin: Origin) -> Cohort:
        """The same content with one more link of lineage."""
        return self._same_content(replace(self, lineage=(*self.lineage, origin)))

    def with_files(self, files: Files | None) -> Cohort:
        """The same content whose files lie elsewhere."""
        return self._same_content(replace(self, files=files))

    def _same_content(self, out: Cohort) -> Cohort:
        if "digest" in self.__dict__:  # the digest is of content, so it need not be computed twice
            out.__dict__["digest"] = self.digest
        return out


def first_appearance(values: pl.Series) -> NDArray[np.int64]:
    """Codes 0, 1, 2 … of values in order of first appearance, shape (rows,); missing is its own value."""
    seen = values.unique(maintain_order=True)
    codes = values.to_frame("v").join(
        pl.DataFrame({"v": seen, "code": np.arange(len(seen))}),
        on="v",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return codes["code"].to_numpy().astype(np.int64)
