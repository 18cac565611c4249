"""Declarations: what the user says about a table's columns, from the plan and from a data dictionary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedside.cohort.schema import KINDS, RESERVED, ROLES, Field
from bedside.errors import DataError

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL")

_FIELD = ("kind", "roles", "unit", "levels", "codes", "low", "high", "label", "description")
_READING = ("format", "zone", "missing")


@dataclass(frozen=True)
class Column:
    """What is declared of one column: attributes of its Field, and how its text is read."""

    field: Mapping[str, Any] = field(default_factory=dict)
    format: str | None = None
    zone: str | None = None
    missing: tuple[str | float, ...] = ()


@dataclass(frozen=True)
class Declarations:
    """All that is declared of a table.

    `roles` are those given by name (target, site …), added to a column's own; `optional` columns need not be there.
    """

    columns: Mapping[str, Column] = field(default_factory=dict)
    subject: str | None = None
    row_id: str | None = None
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    missing: tuple[str | float, ...] = ()
    optional: frozenset[str] = frozenset()

    def missing_of(self, name: str) -> tuple[frozenset[str], frozenset[float]]:
        """The texts and the numbers that stand for a missing value in a column."""
        column = self.columns.get(name, Column())
        values = [*MISSING, *self.missing, *column.missing]
        texts = frozenset(value for value in values if isinstance(value, str))
        return texts, frozenset(float(value) for value in values if not isinstance(value, str))

    def wanted(self, label: str, names: Sequence[str]) -> list[str]:
        """The columns to read, in the table's order; raises DataError for a declared one that the table lacks."""
        needed = set(self.columns) - self.optional
        declared = {self.subject, self.row_id, *needed, *self.roles, *self.ignore, *(self.only or ())} - {None}
        for name in sorted(str(each) for each in declared):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"columns: {', '.join(names[:30])}"
                raise DataError(f"{label}: there is no column '{name}'", hint)
        kept = set(names) if self.only is None else {self.subject, self.row_id, *self.roles, *self.only}
        return [name for name in names if name in kept and name not in self.ignore]

    def field_of(self, name: str, inferred: str, *, useful: bool = True) -> Field:
        """The Field of a column: declared attributes, else the inferred kind.

        Roles given by name win over `input`, which a column that is not `useful` gets only when its kind is declared.
        """
        attributes = dict(self.columns.get(name, Column()).field)
        useful = useful or "kind" in attributes
        kind = attributes.setdefault("kind", inferred)
        named = self.roles.get(name, ())
        if "roles" not in attributes:
            # A sensitive field is usually an input too; a target never is; free text and times have no use unasked.
            plain = useful and kind not in ("text", "time") and all(role == "sensitive" for role in named)
            attributes["roles"] = ("input",) if plain else ()
        roles = tuple(dict.fromkeys([*attributes.pop("roles"), *named]))
        if "target" in roles:
            roles = tuple(role for role in roles if role != "input")
        return Field(name=name, roles=roles, **attributes)


def declare(
    *,
    fields: Any = None,
    subject: str | None = None,
    row_id: str | None = None,
    roles: Mapping[str, Any] | None = None,
    ignore: Any = None,
    columns: Any = None,
    missing: Any = None,
    dictionary: Mapping[str, Mapping[str, Any]] | None = None,
) -> Declarations:
    """Declarations from a reader's parameters; raises DataError for an unknown kind, role or attribute.

    `dictionary` declares columns too, whether the table has them or not; what `fields` says of a column wins.
    """
    given_fields = _by_name(fields)
    described = {name: {**spec, **_spec(name, given_fields.get(name))} for name, spec in (dictionary or {}).items()}
    declared = {name: _column(name, spec) for name, spec in {**given_fields, **described}.items()}
    texts, by_column = _missing(missing)
    for name, values in by_column.items():
        before = declared.get(name, Column())
        declared[name] = Column(before.field, before.format, before.zone, (*before.missing, *values))
    given: dict[str, tuple[str, ...]] = {}
    for role, value in (roles or {}).items():
        for name in column_names(role, value):
            given[name] = (*given.get(name, ()), role)
    for special in (subject, row_id):
        if special is not None and special in given:
            raise DataError(f"column '{special}' is the subject or row id, so it can have no role", "keep one")
    return Declarations(
        columns=declared,
        optional=frozenset(described) - set(given_fields) - set(by_column),
        subject=subject,
        row_id=row_id,
        roles=given,
        ignore=column_names("ignore", ignore),
        only=None if columns is None else column_names("columns", columns),
        missing=texts,
    )


def _by_name(fields: Any) -> dict[str, Any]:
    if fields is None:
        return {}
    if isinstance(fields, Mapping):
        return {str(name): spec for name, spec in fields.items()}
    if isinstance(fields, Sequence) and all(isinstance(each, Mapping) and "name" in each for each in fields):
        return {str(each["name"]): {key: value for key, value in each.items() if key != "name"} for each in fields}
    raise DataError(f"cannot read fields {str(fields)[:80]!r}", "write {name: {kind: …, unit: …}}")


def _spec(name: str, spec: Any) -> Mapping[str, Any]:
    attributes = {"kind": spec} if isinstance(spec, str) else {} if spec is None else spec
    if not isinstance(attributes, Mapping):
        raise DataError(f"field '{name}': cannot read {str(spec)[:80]!r}", "write a kind, or {kind: …, unit: …}")
    return attributes


def _column(name: str, spec: Any) -> Column:
    attributes = _spec(name, spec)
    unknown = sorted(set(attributes) - {*_FIELD, *_READING})
    if unknown:
        raise DataError(f"field '{name}': unknown attribute {unknown}", f"any of {', '.join([*_FIELD, *_READING])}")
    own = {key: attributes[key] for key in _FIELD if attributes.get(key) is not None}
    _check_types(name, attributes)
    if "kind" in own and own["kind"] not in KINDS:
        raise DataError(f"field '{name}': unknown kind '{own['kind']}'", f"one of {', '.join(KINDS)}")
    for key in ("roles", "levels"):
        if key in own:
            own[key] = tuple(_text(each) for each in ([own[key]] if isinstance(own[key], str) else own[key]))
    for role in own.get("roles", ()):
        if role not in ROLES:
            raise DataError(f"field '{name}': unknown role '{role}'", f"any of {', '.join(ROLES)}")
    if "codes" in own:
        own["codes"] = {_text(key): _text(value) for key, value in own["codes"].items()}
    for key in ("low", "high"):
        if key in own:
            own[key] = float(own[key])
    missing = attributes.get("missing", ())
    return Column(own, attributes.get("format"), attributes.get("zone"), _values(missing))


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "unit", "label", "description", "format", "zone"), (str,)),
    **dict.fromkeys(("roles", "levels"), (str, list, tuple)),
    **dict.fromkeys(("low", "high"), (int, float)),
    "codes": (Mapping,),
}


def _check_types(name: str, attributes: Mapping[str, Any]) -> None:
    for key, types in _TYPES.items():
        value = attributes.get(key)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            wanted = " or ".join(each.__name__.lower() for each in types)
            raise DataError(f"field '{name}': {key} is {str(value)[:40]!r}", f"give a {wanted}")


def _missing(spec: Any) -> tuple[tuple[str | float, ...], dict[str, tuple[str | float, ...]]]:
    everywhere: list[str | float] = []
    by_column: dict[str, tuple[str | float, ...]] = {}
    for each in spec if isinstance(spec, list | tuple) else [] if spec is None else [spec]:
        if isinstance(each, Mapping):
            by_column |= {str(name): _values(values) for name, values in each.items()}
        else:
            everywhere += _values(each)
    return tuple(everywhere), by_column


def _values(spec: Any) -> tuple[str | float, ...]:
    values = spec if isinstance(spec, list | tuple) else [spec]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DataError(f"missing code {value!r} is neither text nor a number", 'write ["?", -9]')
    return tuple(value.strip() if isinstance(value, str) else float(value) for value in values)


def column_names(what: str, spec: Any) -> tuple[str, ...]:
    """One name or a list of them as a tuple; raises DataError for anything else."""
    if spec is None:
        return ()
    names = [spec] if isinstance(spec, str) else spec
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{what}: {str(spec)[:80]!r} is no list of column names", "write [name, name]")
    return tuple(names)


def _text(value: Any) -> str:
    # YAML reads the levels [0, 1, yes] as numbers and booleans; the table holds text.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def reserved_in(names: Sequence[str], given: Declarations) -> tuple[str | None, str | None]:
    """The subject and row id columns: those declared, else columns that bear the very names."""
    subject = given.subject if given.subject is not None else next((n for n in names if n == RESERVED[1]), None)
    row_id = given.row_id if given.row_id is not None else next((n for n in names if n == RESERVED[0]), None)
    return subject, row_id
