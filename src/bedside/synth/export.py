"""A cohort as a CSV file with its data dictionary, or as image files with a label table: what readers read back."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.manifest import file_fields, files_of, manifests
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


def write_images(cohort: Cohort, folder: Path, note: str) -> Path:
    """Write each image and mask as the file that it is, `labels.csv` with its path, and `note` as README.txt.

    `{read: images, path: <folder>, labels: labels.csv, file: <image field>, subject: subject, mask: {<field>:
    <field>}}` reads it back. A path is <field>/<row id>.png. Returns the table's path. Raises DataError for a file of
    several parts or one that steps have changed, and for a row id that is no file name.
    """
    files, table = files_of(cohort), cohort.frame.select("subject", *cohort.schema.names)
    names = cohort["row_id"].to_list()
    unfit = [name for name in names if not all(letter.isalnum() or letter in "-_." for letter in name)]
    if unfit:
        raise DataError(f"{len(unfit)} row ids cannot name files", "use letters, digits, - and _")
    for field in file_fields(cohort):
        held = manifests(cohort, field)
        if any(len(each.items) != 1 or each.ops or each.media != "image/png" for each in held.values()):
            raise DataError(f"field '{field}' holds more than plain PNG files", "export the cohort as it was made")
        (folder / field).mkdir(parents=True, exist_ok=True)
        paths = [
            None if digest is None else f"{field}/{name}.png"
            for name, digest in zip(names, cohort[field].to_list(), strict=True)
        ]
        for path, digest in zip(paths, cohort[field].to_list(), strict=True):
            if path is not None:
                (folder / path).write_bytes(files.get(held[digest].items[0]))
        table = table.with_columns(pl.Series(field, paths, dtype=pl.String))
    (folder / "README.txt").write_text(note + "\n", encoding="utf-8")
    table.write_csv(folder / "labels.csv", quote_style="necessary")
    return folder / "labels.csv"
