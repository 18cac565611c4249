"""Tables that carry their own types: Parquet, Excel and databases, as polars frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from bedside.errors import DataError, MissingExtra
from bedside.intake.memory import available_bytes, refuse_too_large
from bedside.intake.source import Source, damaged

_BATCH = 50_000


def read_parquet(source: Source, wanted: Callable[[Sequence[str]], list[str]], advice: str) -> pl.DataFrame:
    """The wanted columns of a Parquet file; raises DataError when it is damaged or too large for memory."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with damaged(source):
            with parquet.ParquetFile(source.path) as file:
                names = file.schema_arrow.names
                columns = wanted(names)
                meta = file.metadata
                chosen = {i for i in range(meta.num_columns) if meta.schema.column(i).path.split(".")[0] in columns}
                groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
                stored = sum(group.column(i).total_uncompressed_size for group in groups for i in chosen)
                plain = meta.num_rows * (16 * len(columns) + 64)
            refuse_too_large(source.label, max(2 * stored, plain) + (64 << 20), advice=advice)
            return pl.read_parquet(source.path, columns=columns)
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise DataError(f"{source.label}: damaged Parquet file: {_first_line(error)}", "write it again") from None


def read_excel(source: Source, sheet: str | None, *, header: bool, names: Sequence[str] | None) -> pl.DataFrame:
    """One sheet of an Excel file (the first unless named); raises MissingExtra without fastexcel."""
    try:
        import fastexcel
    except ImportError:
        raise MissingExtra("excel", f"{source.label}: an Excel file") from None
    try:
        book = fastexcel.read_excel(source.path)
        if sheet is not None and sheet not in book.sheet_names:
            raise DataError(
                f"{source.label}: there is no sheet '{sheet}'", f"sheets: {', '.join(book.sheet_names[:20])}"
            )
        loaded = book.load_sheet(sheet if sheet is not None else 0, header_row=0 if header else None)
        frame: pl.DataFrame = loaded.to_polars()
    except fastexcel.FastExcelError as error:
        raise DataError(
            f"{source.label}: cannot be read as Excel: {_first_line(error)}", "save it again, or as CSV"
        ) from None
    if frame.width == 0:
        raise DataError(f"{source.label}: the sheet is empty", "name another `sheet`")
    if names is not None:
        if len(names) != frame.width:
            raise DataError(f"{source.label}: {len(names)} names for {frame.width} columns", "give one name a column")
        frame.columns = list(names)
    return frame


def read_sql(url: str, query: str | None) -> tuple[pl.DataFrame, str]:
    """The answer to a query at an SQLAlchemy URL, and the URL without its password; DataError when either fails."""
    import sqlalchemy as sa

    try:
        location = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise DataError("the database URL cannot be read", "write it like sqlite:///file.db") from None
    label = location.render_as_string(hide_password=True)
    if query is None:
        raise DataError(f"{label}: no query", "say `query: SELECT … FROM …`")
    if location.get_backend_name() == "sqlite" and not Path(location.database or "").is_file():
        raise DataError(f"{label}: no such file", "check the path; sqlite:////x is absolute, sqlite:///x is not")
    try:
        engine = sa.create_engine(location)
        frames, taken, there = [], 0, available_bytes()
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.execute(sa.text(query))
            if not result.returns_rows:
                raise DataError(f"{label}: the query returns no rows by its nature", "write a SELECT")
            names = list(result.keys())
            _refuse_repeated(label, names)
            for rows in result.partitions(_BATCH):
                columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
                frames.append(pl.DataFrame(columns, strict=False))
                taken += int(frames[-1].estimated_size())
                if taken * 2 > there:
                    raise DataError(
                        f"{label}: the query's answer does not fit in memory", "select fewer columns or rows"
                    )
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        raise DataError(f"{label}: {type(cause).__name__}: {_first_line(cause)}", "check URL and query") from None
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String)), label
    try:
        return pl.concat(frames, how="vertical_relaxed"), label
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{label}: a column changes its type: {_first_line(error)}", "CAST it in the query") from None


def _refuse_repeated(label: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DataError(f"{label}: the query returns {', '.join(repeated)} more than once", "rename with AS")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
