"""What a release folder holds, file by file. Nothing in it names a patient, a path, a host or a time.

plan.yaml            the plan as it was declared, but for the folders and databases it names
release.json         stage, gates, facts, digests, versions
task.json            the task with its classes
reader.json          how a later table is read: kinds, missing codes, forms of time
clean.json           item-scope cleaning, replayed on every new row
model/               the fitted pipeline: steps, model, calibrator, threshold
input.schema.json    fields, units, ranges and levels that a caller may send (JSON Schema)
example.json         one synthetic row
golden/              up to 256 synthetic rows (32 with images, which are noise) and their predictions
rows/                test rows under keyed ids: outcome, groups, predictions (left out with `rows: false`)
evidence.json        all evidence, canonical JSON
card.md              the model card, English and Chinese
report.html          the report
signature.dsse.json  DSSE envelope over an in-toto statement of every other file
approvals/           signed approvals and overrides, added later
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from bedside.cohort.atomic import atomic_write, make_folder
from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import json_digest
from bedside.cohort.files import MemoryFiles
from bedside.cohort.manifest import file_fields, files_of, manifest, objects_of
from bedside.cohort.schema import Field, Schema
from bedside.models.observed import draw, observe
from bedside.models.predictions import Predictions
from bedside.models.task import Task
from bedside.plan.artifacts import parquet_bytes, read_parquet_bytes
from bedside.plan.golden_events import golden_events
from bedside.plan.sources import file_digest

Read = Callable[[str], bytes]
GOLDEN_ROWS = 256
GOLDEN_IMAGES = 32
FILES = "files"


def pretty(value: Any) -> bytes:
    """JSON for people and machines: sorted keys, one space, a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def row_secret(keys: Path) -> bytes:
    """This workspace's own secret, made on first use."""
    file = keys / "rows.key"
    if not file.exists():
        atomic_write(file, secrets.token_bytes(32))
    return file.read_bytes()


def row_key(secret: bytes, predictions: str) -> bytes:
    """The key under which one release names its rows: HMAC of its predictions' digest by the workspace's secret."""
    return hmac.new(secret, predictions.encode(), hashlib.sha256).digest()


def keyed(values: pl.Series, key: bytes) -> pl.Series:
    """Each text as 32 hexadecimal digits that only the holder of the key can tie to it."""
    unique = values.unique()
    names = [hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32] for value in unique.to_list()]
    return values.replace_strict(unique, pl.Series(names, dtype=pl.String), return_dtype=pl.String)


def keyed_rows(cohort: Cohort, keep: Sequence[str], key: bytes) -> Cohort:
    """The cohort with only the fields that checks recompute from, its ids keyed."""
    small = cohort.keeping(list(keep))
    frame = small.frame.with_columns(keyed(small["row_id"], key), keyed(small["subject"], key))
    plain = [
        Field(item.name, item.kind, item.roles, unit=item.unit, levels=item.levels) for item in small.schema.fields
    ]
    return Cohort(Schema(tuple(plain), small.schema.identity, "release-rows"), frame)


def k_anonymity(cohort: Cohort, fields: Sequence[str]) -> int:
    """The size of the smallest set of subjects that share every value of the fields (0 when there are none)."""
    if not fields:
        return 0
    groups = cohort.frame.group_by(list(fields)).agg(pl.col("subject").n_unique())
    return int(groups["subject"].to_numpy().min()) if groups.height else 0


def golden_rows(raw: Cohort, seed: int, *, without: str) -> Cohort:
    """Synthetic raw rows: every field but the target (`without`) and masks, which no model sees, drawn independently of
    the others from its marginal, so that no row and no rare value is a patient's."""
    fields = [item for item in raw.schema.fields if item.name != without and item.kind != "mask"]
    described = raw.keeping([item.name for item in fields]).with_fields([replace(f, roles=("input",)) for f in fields])
    n = GOLDEN_IMAGES if file_fields(described) else GOLDEN_ROWS
    drawn = draw(described.schema.fields, observe(described), n, seed).with_fields(fields)
    return drawn if raw.events is None else replace(drawn, events=golden_events(raw, drawn, seed))


def input_schema(schema: Schema, observed: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one row that the release answers; ranges seen in training stand beside the plausible."""
    types = {"number": "number", "boolean": "boolean"}
    properties: dict[str, Any] = {}
    for item in schema.fields:
        each: dict[str, Any] = {"type": [types.get(item.kind, "string"), "null"]}
        if item.label or item.description:
            each["description"] = " — ".join(text for text in (item.label, item.description) if text)
        if item.unit:
            each["x-unit"] = item.unit
        each["x-kind"] = item.kind
        if item.kind == "image":
            each |= {"contentEncoding": "base64", "contentMediaType": "image/*"}
        if item.levels:
            each["x-levels"] = list(item.levels)
        if item.low is not None:
            each["minimum"] = item.low
        if item.high is not None:
            each["maximum"] = item.high
        seen = observed.get(item.name, {})
        if item.kind == "number" and "low" in seen:
            each["x-seen"] = [float(seen["low"]), float(seen["high"])]
        properties[item.name] = each
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Input of {name}",
        "type": "object",
        "properties": properties,
        "required": [item.name for item in schema.inputs],
        "additionalProperties": False,
    }


def one_row(cohort: Cohort, row: int = 0) -> dict[str, Any]:
    """One row's fields as JSON; an image is its file's bytes in base64."""
    values = cohort.frame.row(row, named=True)
    values = {name: values[name] for name in cohort.schema.names}
    for name in file_fields(cohort):
        if values[name] is not None:
            files = files_of(cohort)
            values[name] = base64.b64encode(files.get(manifest(files, values[name]).items[0])).decode()
    return {key: value if isinstance(value, float | bool | str | None) else str(value) for key, value in values.items()}


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
