"""Schema: what each field of a cohort is (kind), what it is for (roles), its unit, codes and plausible range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import polars as pl

from bedside.cohort.digest import json_digest
from bedside.errors import DataError

Kind = Literal[
    "number", "category", "ordinal", "boolean", "time", "text",
    "image", "volume", "mask", "signal", "video", "molecule", "sequence",
]  # fmt: skip
Role = Literal["input", "target", "event", "time", "site", "weight", "sensitive"]
Identity = Literal["declared", "row", "cluster"]

KINDS: tuple[str, ...] = get_args(Kind)
ROLES: tuple[str, ...] = get_args(Role)
FILE_KINDS = frozenset({"image", "volume", "mask", "signal", "video", "molecule", "sequence"})
RESERVED = ("row_id", "subject")


def physical_type(kind: str) -> pl.DataType:
    """The polars type that a kind is stored as; a file-like field holds the digest of its manifest."""
    if kind == "number":
        return pl.Float64()
    if kind == "boolean":
        return pl.Boolean()
    if kind == "time":
        return pl.Datetime("us")
    return pl.String()


@dataclass(frozen=True)
class Field:
    """One typed field.

    `levels` are the admissible values of a category (any order) or ordinal (low to high); `codes` maps a stored value
    to its meaning (the data dictionary); `unit` is UCUM; `low`/`high` bound plausible values, in that unit.
    A field may have several roles: sex is often both an input and sensitive.
    """

    name: str
    kind: Kind
    roles: tuple[Role, ...] = ("input",)
    unit: str | None = None
    levels: tuple[str, ...] | None = None
    codes: Mapping[str, str] | None = None
    low: float | None = None
    high: float | None = None
    label: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"field '{self.name}': unknown kind '{self.kind}'", f"one of {', '.join(KINDS)}")
        for role in self.roles:
            if role not in ROLES:
                raise DataError(f"field '{self.name}': unknown role '{role}'", f"any of {', '.join(ROLES)}")
        if self.name in RESERVED:
            raise DataError(f"a field cannot be named '{self.name}'", "that column is the cohort's own")

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the attributes that differ from their default."""
        out: dict[str, Any] = {"name": self.name, "kind": self.kind, "roles": list(self.roles)}
        for item in fields(self)[3:]:
            value = getattr(self, item.name)
            if value is not None:
                out[item.name] = list(value) if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`."""
        known = {item.name for item in fields(cls)}
        unknown = set(data) - known
        if unknown:
            raise DataError(f"field '{data.get('name')}': unknown attribute {sorted(unknown)}", f"use {sorted(known)}")
        values = dict(data)
        for key in ("roles", "levels"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        return cls(**values)


@dataclass(frozen=True)
class Schema:
    """The fields of a cohort in order, and how its subjects are known.

    `identity` is "declared" (a patient id was given), "row" (unknown: each row stands for itself) or "cluster"
    (near-duplicates were joined); everything but "declared" is said in the report.
    """

    fields: tuple[Field, ...] = ()
    identity: Identity = "row"
    name: str = "cohort"
    _index: dict[str, Field] = field(init=False, repr=False, compare=False, hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.fields:
            if item.name in self._index:
                raise DataError(f"field '{item.name}' is declared twice")
            self._index[item.name] = item
        for role in ("time", "site", "weight", "event"):
            if len(self.with_role(role)) > 1:
                names = [item.name for item in self.with_role(role)]
                raise DataError(f"more than one field has the role '{role}': {names}", "keep one")

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def __getitem__(self, name: str) -> Field:
        if name not in self._index:
            raise DataError(f"no field '{name}'", "fields: " + ", ".join(self.names[:30]))
        return self._index[name]

    @property
    def names(self) -> list[str]:
        """Field names in order."""
        return [item.name for item in self.fields]

    def with_role(self, role: str) -> list[Field]:
        """The fields that have a role."""
        return [item for item in self.fields if role in item.roles]

    def one(self, role: str) -> Field | None:
        """The only field that has a role, or None."""
        found = self.with_role(role)
        return found[0] if found else None

    @property
    def inputs(self) -> list[Field]:
        """The fields a model may look at."""
        return self.with_role("input")

    def replacing(self, changed: Iterable[Field]) -> Schema:
        """The same schema with some fields replaced by name; new names are appended."""
        new = {item.name: item for item in changed}
        kept = tuple(new.pop(item.name, item) for item in self.fields)
        return replace(self, fields=kept + tuple(new.values()))

    def keeping(self, names: Iterable[str]) -> Schema:
        """The same schema with only the named fields, in schema order."""
        wanted = set(names)
        return replace(self, fields=tuple(item for item in self.fields if item.name in wanted))

    def to_json(self) -> dict[str, Any]:
        """A JSON object (`format` 1)."""
        return {
            "format": 1,
            "name": self.name,
            "identity": self.identity,
            "fields": [item.to_json() for item in self.fields],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`; raises DataError for another format."""
        if data.get("format") != 1:
            raise DataError(f"schema format {data.get('format')!r} is not known", "read it with a newer bedside")
        items = tuple(Field.from_json(item) for item in data["fields"])
        return cls(fields=items, identity=data["identity"], name=data["name"])

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return json_digest(self.to_json())
