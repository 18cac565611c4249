"""A cohort as a CSV file with its data dictionary: what the reader `tables` reads back unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import FILE_KINDS
from bedside.errors import DataError


def write_csv(cohort: Cohort, path: Path) -> Path:
    """Write the table to `path` and its dictionary beside it, `<name>.dictionary.json`, whose path is returned.

    `{read: tables, path: <name>.csv, dictionary: <name>.dictionary.json}` gives the same table and fields back: ids
    stand in the columns `row_id` and `subject` (left out where each row stands for itself), missing cells are empty.
    Raises DataError for a field that holds files.
    """
    files = [item.name for item in cohort.schema.fields if item.kind in FILE_KINDS]
    if files:
        raise DataError(f"fields {files} hold files, which no CSV can", "leave them out with `keeping`")
    frame = cohort.frame
    if cohort.schema.identity == "row":
        frame = frame.drop("row_id", "subject")
    times = [item.name for item in cohort.schema.fields if item.kind == "time"]
    frame = frame.with_columns(pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.6f") for name in times)
    frame.write_csv(path, quote_style="necessary")
    dictionary = path.with_suffix(".dictionary.json")
    fields = [item.to_json() for item in cohort.schema.fields]
    text = json.dumps({"name": cohort.schema.name, "fields": fields}, ensure_ascii=False, indent=1)
    dictionary.write_text(text + "\n", encoding="utf-8")
    return dictionary
