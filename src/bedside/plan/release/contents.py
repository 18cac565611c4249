"""What a release folder holds, file by file. Nothing in it names a patient, a path, a host or a time.

plan.yaml            the plan as it was declared, but for the folders and databases it names
release.json         stage, gates, facts, digests, versions
task.json            the task with its classes
reader.json          how a later table is read: kinds, missing codes, forms of time
clean.json           item-scope cleaning, replayed on every new row
model/               the fitted pipeline: steps, model, calibrator, threshold
serving/             for a network: the same pipeline in ONNX, which answers without the library that trained it
input.schema.json    fields, units, ranges and levels that a caller may send (JSON Schema)
example.json         one synthetic row
golden/              up to 256 synthetic rows (32 with images, which are noise) and their predictions
rows/                test rows under keyed ids: outcome, groups, predictions (left out with `rows: false`)
actions/             what the actions that the plan names left, each in a folder of its own
seen.json            a sketch of the development rows, to tell whether local rows are among them
evidence.json        all evidence, canonical JSON
card.md              the model card, English and Chinese
report.html          the report
signature.dsse.json  DSSE envelope over an in-toto statement of every other file
approvals/           signed approvals and overrides, added later
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import file_fields, files_of, manifest, objects_of
from bedside.cohort.schema import Schema
from bedside.models.predictions import Predictions
from bedside.models.task import Task
from bedside.plan.memo.artifacts import parquet_bytes, read_parquet_bytes
from bedside.plan.memo.sources import file_digest

Read = Callable[[str], bytes]
FILES = "files"


def pretty(value: Any) -> bytes:
    """JSON for people and machines: sorted keys, one space, a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def write_cohort(folder: Path, name: str, cohort: Cohort) -> None:
    """A cohort as NAME.parquet and NAME.schema.json, its events as NAME.events.parquet; the files it names lie in
    `files`, each under its digest."""
    named = objects_of(cohort) if file_fields(cohort) else []
    if named:
        make_folder(folder / FILES)
    for digest in named:
        atomic_write(folder / FILES / digest, files_of(cohort).get(digest))
    atomic_write(folder / f"{name}.parquet", parquet_bytes(cohort.frame))
    if cohort.events is not None:
        atomic_write(folder / f"{name}.events.parquet", parquet_bytes(cohort.events))
    record = {**cohort.schema.to_json(), "events": cohort.events is not None}
    atomic_write(folder / f"{name}.schema.json", pretty(record))


def read_cohort(read: Read, name: str) -> Cohort:
    """The inverse of `write_cohort`; `read` gives the bytes of a file, `name` is a path without its suffix."""
    record = json.loads(read(f"{name}.schema.json"))
    events = read_parquet_bytes(read(f"{name}.events.parquet")) if record.get("events") else None
    cohort = Cohort(Schema.from_json(record), read_parquet_bytes(read(f"{name}.parquet")), events)
    place = name.rpartition("/")[0]
    files = MemoryFiles()
    for field in file_fields(cohort):
        for digest in cohort[field].drop_nulls().unique(maintain_order=True):
            files.put(read(f"{place}/{FILES}/{digest}"))
            for item in manifest(files, digest).items:
                files.put(read(f"{place}/{FILES}/{item}"))
    return cohort.with_files(files) if file_fields(cohort) else cohort


def write_predictions(folder: Path, name: str, predictions: Predictions, row_id: pl.Series) -> None:
    """Predictions as NAME.parquet, under the keyed row ids."""
    atomic_write(folder / f"{name}.parquet", parquet_bytes(predictions.frame.with_columns(row_id.alias("row_id"))))


def read_predictions(read: Read, name: str, task: Task) -> Predictions:
    """The inverse of `write_predictions`; `read` gives the bytes of a file, `name` is a path without its suffix."""
    return Predictions(task, read_parquet_bytes(read(f"{name}.parquet")))


def release_digest(files: Mapping[str, str]) -> str:
    """The digest of a release: SHA-256 over its files' names and digests."""
    return json_digest({"format": 1, "files": dict(sorted(files.items()))})


def file_digests(folder: Path) -> dict[str, str]:
    """Relative path → SHA-256 of every file in a folder."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
