"""Manifest: what one value of a file-like field is: its files in order, what they hold, and what is done to them.

    {"format": 1, "items": [SHA-256 of each file …], "kind": "image", "media": "image/png",
     "ops": [{"op": "resize", "height": 128, "width": 128, …} …], "shape": [height, width, channels]}

and of a volume, of shape [slices, rows, columns], "geometry": {"affine": …, "spacing": …, "space": "LPS"}

in canonical JSON; the field holds the SHA-256 of these bytes. `ops` are applied to the decoded files in order, when an
array is asked for (`prepare.arrays`): a step on a file-like field appends one and never rewrites a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.cohort.files import Files, MemoryFiles
from bedside.cohort.schema import FILE_KINDS
from bedside.errors import DataError, IntegrityError

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """Digests of the files, their media type, the `shape` of the array after all `ops`, and the ops.

    `geometry` of a volume is where its voxels lie: `affine` (4, 4) from (column, row, slice) to mm, `spacing` (x, y, z)
    in mm, `space` (LPS), and `frames`, the order of the frames of a single file.
    """

    kind: str
    items: tuple[str, ...]
    media: str
    shape: tuple[int, ...]
    ops: tuple[Mapping[str, Any], ...] = ()
    geometry: Mapping[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON; `geometry` stands in it only where there is one."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "kind": self.kind,
            "items": list(self.items),
            "media": self.media,
            "shape": list(self.shape),
            "ops": [dict(op) for op in self.ops],
        }
        if self.geometry is not None:
            content["geometry"] = dict(self.geometry)
        return canonical_json(content)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: what the field holds."""
        return sha256_hex(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The inverse of `to_bytes`; raises DataError for anything else."""
        try:
            held = json.loads(data)
            if held["format"] != FORMAT:
                raise DataError(f"manifest format {held['format']!r} is not known", "read it with a newer bedside")
            return cls(
                str(held["kind"]),
                tuple(str(each) for each in held["items"]),
                str(held["media"]),
                tuple(int(each) for each in held["shape"]),
                tuple(dict(each) for each in held["ops"]),
                None if held.get("geometry") is None else dict(held["geometry"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"this is no manifest of files: {type(error).__name__}", "read the data again with its reader"
            ) from None

    def with_op(self, op: Mapping[str, Any], shape: Sequence[int]) -> Manifest:
        """The same files with one more operation, after which the array has this shape."""
        return replace(self, ops=(*self.ops, dict(op)), shape=tuple(shape))


def files_of(cohort: Cohort) -> Files:
    """The cohort's files; raises DataError when it was made without any."""
    if cohort.files is None:
        raise DataError(
            f"the cohort '{cohort.schema.name}' names files and does not know where they are",
            "read it with its reader, or take it from its store",
        )
    return cohort.files


def file_fields(cohort: Cohort, kind: str | None = None) -> list[str]:
    """Names of the file-like fields (of one kind), in schema order."""
    return [f.name for f in cohort.schema.fields if f.kind in FILE_KINDS and kind in (None, f.kind)]


def manifest(files: Files, digest: str) -> Manifest:
    """The manifest of a digest."""
    return Manifest.from_bytes(files.get(digest))


def manifests(cohort: Cohort, field: str) -> dict[str, Manifest]:
    """The distinct manifests of a field by digest, in order of first appearance; missing values have none."""
    files = files_of(cohort)
    digests = cohort[field].drop_nulls().unique(maintain_order=True).to_list()
    return {digest: manifest(files, digest) for digest in digests}


def with_manifests(cohort: Cohort, field: str, changed: Mapping[str, Manifest]) -> Cohort:
    """The cohort whose field names other manifests (old digest → new manifest), kept in memory over its files."""
    files = MemoryFiles(files_of(cohort))
    renamed = {old: files.put(new.to_bytes()) for old, new in changed.items()}
    column = cohort[field].replace_strict(renamed, return_dtype=pl.String) if renamed else cohort[field]
    return cohort.with_columns({field: column}).with_files(files)


def objects_of(cohort: Cohort) -> list[str]:
    """Digests of all files that the file-like fields name: each manifest after its items, so that a manifest that is
    somewhere has its files there. Raises IntegrityError for a value that is no manifest."""
    found: dict[str, None] = {}
    for name in file_fields(cohort):
        try:
            for digest, each in manifests(cohort, name).items():
                found |= dict.fromkeys((*each.items, digest))
        except DataError as error:
            raise IntegrityError(f"field '{name}': {error.what}", error.way_out) from None
    return list(found)
