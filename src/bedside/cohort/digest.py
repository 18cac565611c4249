"""Canonical digests: the same content has the same SHA-256, whoever wrote it and however it is chunked.

JSON is canonical by RFC 8785. A column is SHA-256 over `bedside.column.1 NUL type NUL rows NUL` in ASCII, then for each
window of 65 536 rows: the validity bits (least significant first, padded to a byte), then the values with missing ones
as zero —

    f8        little-endian double, −0 as +0, every NaN as 7ff8000000000000
    i8        little-endian signed 64 bits; `days` since 1970-01-01 and `us:<time zone>` (microseconds since) likewise
    bool      bits, as for validity
    utf8      lengths in bytes (little-endian unsigned 64 bits each), then the UTF-8 of all

— and a table is the digest of {columns: [[name, type, column digest], …], format: 1, rows}. So neither chunks nor the
Parquet writer matter. Test vectors and a reading of this in plain Python stand in tests/cohort/test_digest.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
import rfc8785

WINDOW = 65_536
FORMAT = 1

_TAGS: dict[Any, str] = {pl.Float64: "f8", pl.Int64: "i8", pl.Boolean: "bool", pl.String: "utf8", pl.Date: "days"}


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value; raises ValueError for NaN, infinities and integers beyond 2^53."""
    return rfc8785.dumps(value)


def sha256_hex(data: bytes | memoryview) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return sha256_hex(canonical_json(value))


def column_digest(column: pl.Series) -> str:
    """SHA-256 of one column (Float64, Int64, Boolean, String, Date or Datetime); its name is not part of it."""
    tag = _type_tag(column.dtype)
    state = hashlib.sha256(f"bedside.column.{FORMAT}\0{tag}\0{len(column)}\0".encode())
    for start in range(0, len(column), WINDOW):
        window = column.slice(start, WINDOW)
        whole = window.null_count() == 0
        valid = np.ones(len(window), dtype=bool) if whole else window.is_not_null().to_numpy()
        state.update(np.packbits(valid, bitorder="little").tobytes())
        for piece in _value_bytes(window if whole else _zeroed(window, tag), tag):
            state.update(piece)
    return state.hexdigest()


def table_digest(frame: pl.DataFrame) -> str:
    """SHA-256 of a table: row count, and name, type and digest of every column in order."""
    columns = [[name, _type_tag(frame[name].dtype), column_digest(frame[name])] for name in frame.columns]
    return json_digest({"format": FORMAT, "rows": frame.height, "columns": columns})


def _type_tag(dtype: pl.DataType) -> str:
    if dtype in _TAGS:
        return _TAGS[dtype]
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "us":
        return f"us:{dtype.time_zone or ''}"
    raise TypeError(f"a {dtype} column has no canonical digest; cast it to one of the physical types of a kind")


def _zeroed(window: pl.Series, tag: str) -> pl.Series:
    """The window with a zero of its type where a value is missing."""
    zeros: dict[str, Any] = {"utf8": "", "f8": 0.0, "bool": False}
    return window.fill_null(zeros[tag]) if tag in zeros else window.to_physical().fill_null(0)


def _value_bytes(window: pl.Series, tag: str) -> list[bytes | memoryview]:
    if tag == "utf8":
        # the array's own buffers; a slice shares them with its neighbours, so only what its offsets span is read
        text = window.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offset_buffer, values = text.buffers()
        offsets = np.frombuffer(offset_buffer, dtype="<i8")[text.offset : text.offset + len(text) + 1]
        lengths = np.diff(offsets).astype("<u8").tobytes()
        return [lengths] if values is None else [lengths, memoryview(values)[offsets[0] : offsets[-1]]]
    if tag == "f8":
        values = window.to_numpy() + 0.0  # −0 + 0 = +0
        values = np.where(np.isnan(values), np.nan, values)
        return [values.astype("<f8").tobytes()]
    if tag == "bool":
        return [np.packbits(window.to_numpy(), bitorder="little").tobytes()]
    physical = window.to_physical().to_numpy()
    return [physical.astype("<i8").tobytes()]
