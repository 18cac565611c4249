"""Tables: CSV, TSV, Excel, Parquet, a ZIP of one of these, or an SQL query, as a Cohort."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Schema
from bedside.errors import DataError
from bedside.intake.assemble import assemble, origin_of, typed_frame
from bedside.intake.declare import Column, Declarations, column_names, declare, reserved_in
from bedside.intake.delimited import BLOCK, Dialect, batches, records_of, tell_dialect
from bedside.intake.dictionary import read_dictionary
from bedside.intake.encoding import tell_encoding
from bedside.intake.formats import read_excel, read_parquet, read_sql
from bedside.intake.memory import refuse_too_large
from bedside.intake.source import Source, locate
from bedside.intake.survey import Survey, look_at_all, refuse_mixed_zones
from bedside.intake.values import cleaned, to_kind

ADVICE = (
    "name only the `columns` you need; or convert the table to Parquet and name columns; or draw a sample of subjects"
)

_TEXTS = (
    "subject", "row_id", "event", "time", "site", "weight", "separator", "quote", "decimal", "encoding",
    "sheet", "member", "query",
)  # fmt: skip

# What says how a table is written, not what is in it.
_LIKE = (
    "subject", "row_id", "separator", "quote", "decimal", "encoding", "header", "names", "sheet", "member", "query",
)  # fmt: skip

# Tables up to this size are parsed once and kept as text between telling their types and converting them.
_KEEP = 64 << 20


@dataclass(frozen=True)
class Tables:
    """Reads one table.

    `fields` declares columns ({name: {kind, roles, unit, levels, codes, low, high, label, description, format, zone,
    missing}}), `dictionary` is a file of such declarations, or these themselves; its columns need not be there.
    `subject`, `row_id`, `target`, `event`, `time`, `site`, `weight`, `sensitive` name columns by what they are for;
    `ignore` leaves columns out, `columns` reads only those named (and those with a role). `missing` are codes,
    everywhere or by column (["?", -9, {"glucose": [0]}]). `separator`, `quote`, `decimal`, `encoding`, `header`,
    `names` describe text tables and are told from the file when not given; `sheet` is for Excel, `member` for a ZIP of
    several files, `query` for a database URL as the path.

    A column called `subject` or `row_id` is taken as such. Without a subject each row stands for itself.
    """

    fields: Any = None
    dictionary: str | Mapping[str, Any] | None = None
    subject: str | None = None
    row_id: str | None = None
    target: Any = None
    event: str | None = None
    time: str | None = None
    site: str | None = None
    weight: str | None = None
    sensitive: Any = None
    ignore: Any = None
    columns: Any = None
    missing: Any = None
    separator: str | None = None
    quote: str | None = None
    decimal: str = "."
    encoding: str | None = None
    header: bool = True
    names: Sequence[str] | None = None
    sheet: str | None = None
    member: str | None = None
    query: str | None = None

    name: ClassVar[str] = "tables"
    paths: ClassVar[tuple[str, ...]] = ("dictionary",)

    def __post_init__(self) -> None:
        for key in _TEXTS:
            value = getattr(self, key)
            if (value is not None or key == "decimal") and (not isinstance(value, str) or not value):
                raise DataError(f"{key} is {value!r}", f"give `{key}` one text")
        if self.dictionary is not None and not (self.dictionary and isinstance(self.dictionary, str | Mapping)):
            raise DataError(f"dictionary is {str(self.dictionary)[:40]!r}", "give a file, or {name: {kind: …}}")
        for key in ("separator", "quote", "decimal"):
            value = getattr(self, key)
            if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n"):
                raise DataError(f"{key} is {value!r}", f"give `{key}` one character")
        if self.separator is not None and self.separator in (self.quote, self.decimal):
            raise DataError(f"separator {self.separator!r} is also the quote or decimal sign", "name another")
        if not isinstance(self.header, bool):
            raise DataError(f"header is {self.header!r}", "say true or false")

    def read(self, path: Path | str) -> Cohort:
        """The cohort of the table at a path, or of the query at a database URL."""
        if isinstance(path, str) and "://" in path:
            frame, label = read_sql(path, self.query)
            return self._typed(label, frame, {"format": "sql"}, None)
        source = locate(Path(path), self.member)
        about = {"format": source.format, "bytes": source.path.stat().st_size}
        if source.format == "text":
            return self._text(source, about)
        if source.format == "parquet":
            frame = read_parquet(source, lambda names: self.declarations().wanted(source.label, names), ADVICE)
        else:
            frame = read_excel(source, self.sheet, header=self.header, names=self.names)
        return self._typed(source.label, frame, about, source.digest())

    def like(self, schema: Schema) -> dict[str, Any]:
        """The parameters by which a later table is read as the one with this schema was, with no file beside it.

        Kinds are declared as they were told; roles are left to whoever reads, and no column but the ids must be there.
        """
        declared = self.declarations()
        fields = {}
        for item in schema.fields:
            said = declared.columns.get(item.name, Column())
            reading = {"format": said.format, "zone": said.zone, "missing": list(said.missing) or None}
            fields[item.name] = {"kind": item.kind, **{key: each for key, each in reading.items() if each is not None}}
        kept = {key: getattr(self, key) for key in _LIKE}
        kept |= {"missing": list(declared.missing), "dictionary": fields or None}
        default = {item.name: item.default for item in dataclass_fields(self)}
        return {key: each for key, each in kept.items() if each not in (default[key], [])}

    def declarations(self) -> Declarations:
        """What the parameters and the dictionary declare; a field's own declaration wins over the dictionary's."""
        roles = {role: getattr(self, role) for role in ("target", "event", "time", "site", "weight", "sensitive")}
        return declare(
            fields=self.fields,
            subject=self.subject,
            row_id=self.row_id,
            roles={role: value for role, value in roles.items() if value is not None},
            ignore=self.ignore,
            columns=self.columns,
            missing=self.missing,
            dictionary=read_dictionary(Path(self.dictionary)) if isinstance(self.dictionary, str) else self.dictionary,
        )

    def frame(self, label: str, frame: pl.DataFrame, about: Mapping[str, Any]) -> Cohort:
        """The cohort of a frame already in memory (`label` names it in errors, `about` goes to the lineage)."""
        return self._typed(label, frame, about, None)

    def _typed(self, label: str, frame: pl.DataFrame, about: Mapping[str, Any], digest: str | None) -> Cohort:
        declared = self.declarations()
        wanted = declared.wanted(label, frame.columns)
        subject, row_id = reserved_in(wanted, declared)
        typed, fields, told = typed_frame(label, frame.select(wanted), declared, (subject, row_id))
        origin = origin_of(self.name, about, {**told, "subject": subject, "row_id": row_id}, digest)
        return assemble(label, typed, fields, subject=subject, row_id=row_id, origin=origin)

    def _text(self, source: Source, about: Mapping[str, Any]) -> Cohort:
        declared = self.declarations()
        head = source.sample()
        encoding = tell_encoding(source, self.encoding, head)
        dialect, wanted = self._dialect(source, head, encoding, declared)
        size = source.unpacked_size(head)
        needed = _needed(source, head.decode(encoding, "replace"), dialect, wanted, size)
        refuse_too_large(source.label, needed, advice=ADVICE)
        whole = tell_encoding(source, self.encoding)
        if whole != encoding:
            encoding = whole
            dialect, wanted = self._dialect(source, head, encoding, declared)
        subject, row_id = reserved_in(wanted, declared)
        special = [name for name in (subject, row_id) if name is not None]
        clean = [cleaned(name, declared.missing_of(name), self.decimal) for name in wanted]

        def pieces() -> Iterator[tuple[int, pl.DataFrame]]:
            for before, frame in batches(source, encoding, dialect, wanted):
                yield before, frame.select(clean)

        kept = [(0, pl.concat([frame for _, frame in pieces()], rechunk=True))] if size <= _KEEP else None
        seen = {name: Survey() for name in wanted if name not in special}
        for _, frame in kept if kept is not None else pieces():
            look_at_all(frame, seen)
        fields = [declared.field_of(name, survey.kind(), useful=not survey.row_number) for name, survey in seen.items()]
        said = {name: declared.columns.get(name, Column()) for name in seen}
        for item in fields:
            if item.kind == "time":
                refuse_mixed_zones(seen[item.name], said[item.name], f"{source.label}: column '{item.name}'")
        numbers = {item.name for item in fields if item.kind == "number" and not seen[item.name].not_number}
        others = [item for item in fields if item.name not in numbers]
        frames = []
        for before, frame in kept if kept is not None else pieces():
            converted = frame.with_columns(pl.col(sorted(numbers)).cast(pl.Float64)) if numbers else frame
            where = f"{source.label}: column"
            frames.append(
                converted.with_columns(
                    to_kind(frame[item.name], item.kind, said[item.name], f"{where} '{item.name}'", before)
                    for item in others
                )
            )
        undeclared = [item for item in fields if said[item.name].field.get("kind") is None]
        doubts = [{"column": item.name, **found} for item in undeclared if (found := seen[item.name].doubt())]
        told = {
            "encoding": encoding,
            "separator": dialect.separator,
            "quote": dialect.quote,
            "header": dialect.header,
            "inferred": {item.name: item.kind for item in undeclared},
            "doubts": doubts,
            "subject": subject,
            "row_id": row_id,
        }
        origin = origin_of(self.name, about, told, source.digest())
        return assemble(source.label, pl.concat(frames), fields, subject=subject, row_id=row_id, origin=origin)

    def _dialect(self, source: Source, head: bytes, encoding: str, declared: Declarations) -> tuple[Dialect, list[str]]:
        text = head.decode(encoding, "replace").removeprefix("\ufeff")
        names = None if self.names is None else column_names("names", self.names)
        dialect = tell_dialect(
            source, text, separator=self.separator, quote=self.quote, header=self.header, names=names
        )
        return dialect, declared.wanted(source.label, dialect.names)


def _needed(source: Source, text: str, dialect: Dialect, wanted: Sequence[str], size: int) -> int:
    """Bytes of memory that the table will take, from the records at its start: 8 a number, 16 and its excess a text."""
    lines = list(islice(io.StringIO(text, newline=""), 2000))
    records = [each for each in records_of(source, lines, dialect) if len(each) == len(dialect.names)][dialect.header :]
    if not records:
        return 0
    width = sum(len(line.encode()) for line in lines) / len(records)
    position = {name: i for i, name in enumerate(dialect.names)}
    a_row = 64.0
    for name in wanted:
        cells = [record[position[name]] for record in records]
        excess = sum(len(cell.encode()) for cell in cells if len(cell) > 12) / len(cells)
        a_row += 8 if all(_short_number(cell) for cell in cells) else 16 + excess
    # A quarter more for what digests and ids take in passing, and the blocks of text under way.
    return int(size / width * a_row * 1.25) + 32 * BLOCK


def _short_number(cell: str) -> bool:
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True
