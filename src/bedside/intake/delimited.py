"""Delimited text: its dialect told from a sample, its records read in batches of text with ragged lines refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from bedside.errors import DataError
from bedside.intake.encoding import Utf8Stream
from bedside.intake.source import Source, damaged

BLOCK = 4 << 20
SEPARATORS = (",", "\t", ";", "|")

# The last record of every stream; when it does not come out as one, an open quote has swallowed the end of the file.
_SENTINEL = "\x1e"


@dataclass(frozen=True)
class Dialect:
    """How records are written: separator, quote character, and names of the columns."""

    separator: str
    quote: str
    header: bool
    names: tuple[str, ...]


def tell_dialect(
    source: Source,
    text: str,
    *,
    separator: str | None = None,
    quote: str | None = None,
    header: bool = True,
    names: Sequence[str] | None = None,
) -> Dialect:
    """The dialect of a table from the start of its text; what is given is not guessed.

    Raises DataError for repeated names, a first row of numbers where names should be, and a wrong number of names.
    """
    lines = [line for line in islice(io.StringIO(text, newline=""), 200) if line.strip()]
    if not lines:
        raise DataError(f"{source.label}: the file holds blank lines only", "check that it was copied wholly")
    if quote is None:
        quote = "'" if '"' not in text and _quoted_by(lines, "'") else '"'
    if separator is None:
        separator = max(SEPARATORS, key=lambda each: _evenness(lines, each, quote))
    first = next(_records(source, lines, separator, quote), [])
    if not header:
        given = tuple(names) if names is not None else tuple(f"column_{i + 1}" for i in range(len(first)))
    else:
        if names is None and len(first) > 1 and all(_is_number(cell) for cell in first):
            raise DataError(
                f"{source.label}: the first row holds numbers where column names should be",
                "say `header: false` and give `names: […]`",
            )
        found = tuple(cell.strip() or f"column_{i + 1}" for i, cell in enumerate(first))
        given = tuple(names) if names is not None else found
    if len(given) != len(first):
        raise DataError(f"{source.label}: {len(given)} names for {len(first)} columns", "give one name a column")
    repeated = sorted(name for name, count in Counter(given).items() if count > 1)
    if repeated:
        raise DataError(
            f"{source.label}: {len(repeated)} column name(s) stand more than once: {', '.join(repeated[:5])}",
            "rename them, or give `names: […]`",
        )
    return Dialect(separator, quote, header, given)


def batches(
    source: Source, encoding: str, dialect: Dialect, columns: Sequence[str]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """The chosen columns as text, batch by batch, each with the number of rows before it.

    Raises DataError for records of another width, with their row numbers (1 is the first after the header), for an
    unclosed quote and for a record longer than 4 MiB.
    """
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    ragged: list[tuple[int, int]] = []

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append((row.number - dialect.header, row.actual_columns))
        return "skip"

    names = [str(i) for i in range(len(dialect.names))]
    position = {name: str(i) for i, name in enumerate(dialect.names)}
    wanted = sorted({*(int(position[name]) for name in columns), 0})
    # A separator that is also the quote, or a line end, is refused by pyarrow with a ValueError or ArrowInvalid.
    read = {"use_threads": False, "block_size": BLOCK, "column_names": names}
    parse = {"delimiter": dialect.separator, "quote_char": dialect.quote, "newlines_in_values": True}
    convert = {
        "column_types": dict.fromkeys(names, pa.string()),
        "strings_can_be_null": False,
        "include_columns": [str(i) for i in wanted],
    }
    tail = (_SENTINEL + dialect.separator * (len(names) - 1)).encode()
    rename = {position[name]: name for name in columns}
    seen, skip, ended = 0, int(dialect.header), False
    try:
        with source.open() as raw, damaged(source):
            reader = pa_csv.open_csv(
                pa.PythonFile(Utf8Stream(raw, encoding, tail), mode="r"),
                read_options=pa_csv.ReadOptions(**read),
                parse_options=pa_csv.ParseOptions(**parse, invalid_row_handler=note),
                convert_options=pa_csv.ConvertOptions(**convert),
            )
            for batch in reader:
                frame = pl.DataFrame(pl.from_arrow(batch))
                if ragged:
                    raise _ragged(source, ragged, len(names))
                ended = frame.height > 0 and frame["0"][-1] == _SENTINEL
                frame = frame.head(-1) if ended else frame
                start = min(skip, frame.height)
                skip -= start
                frame = frame.slice(start).select(list(rename)).rename(rename)
                yield seen, frame
                seen += frame.height
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{source.label}: row {seen + 1} or a later one cannot be parsed ({_reason(error)})",
            "look for a quote that is not closed; or declare `separator`, `quote` or `encoding`",
        ) from None
    if ragged:
        raise _ragged(source, ragged, len(names))
    if not ended:
        raise DataError(
            f"{source.label}: a quote opened in row {seen + 1} or later is never closed",
            "close it, or declare another `quote`",
        )


def _reason(error: Exception) -> str:
    # pyarrow quotes the record it stumbled over, which may name a patient: only what it says of the record is kept.
    text = str(error)
    if "straddling" in text:
        return f"a record is longer than {BLOCK >> 20} MiB"
    return "invalid text" if "UTF8" in text else "invalid record"


def _ragged(source: Source, rows: list[tuple[int, int]], width: int) -> DataError:
    some = "; ".join(f"row {number} has {found}" for number, found in rows[:3])
    more = " …" if len(rows) > 3 else ""
    return DataError(
        f"{source.label}: every row should have {width} columns: {some}{more}",
        "mend these rows (a separator inside a value needs quotes), or declare `separator` or `quote`",
    )


def records_of(source: Source, lines: list[str], dialect: Dialect) -> Iterator[list[str]]:
    """The records of some lines of text; raises DataError when they cannot be parsed."""
    return _records(source, lines, dialect.separator, dialect.quote)


def _records(source: Source, lines: list[str], separator: str, quote: str) -> Iterator[list[str]]:
    if len(separator) != 1 or len(quote) != 1:
        raise DataError(f"separator {separator!r} and quote {quote!r} must be one character each")
    try:
        yield from csv.reader(lines, delimiter=separator, quotechar=quote)
    except csv.Error as error:
        raise DataError(f"{source.label}: cannot be parsed as text records: {error}", "is it a text table?") from None


def _evenness(lines: list[str], separator: str, quote: str) -> tuple[float, float]:
    """How well a separator explains the lines: share of records as wide as the first one; then −its rank."""
    try:
        widths = [len(record) for record in csv.reader(lines, delimiter=separator, quotechar=quote)]
    except csv.Error:
        return 0.0, 0.0
    if not widths or widths[0] < 2:
        return 0.0, 0.0
    return sum(width == widths[0] for width in widths) / len(widths), -float(SEPARATORS.index(separator))


def _quoted_by(lines: list[str], quote: str) -> bool:
    return (
        sum(line.count(quote) >= 2 and quote in (line.strip()[0], line.strip()[-1]) for line in lines) > len(lines) / 2
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in ("nan", "inf", "infinity")
