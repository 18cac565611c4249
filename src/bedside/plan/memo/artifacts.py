"""What actions keep in the store: folders, predictions, evidence — each by digest."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from bedside.cohort.atomic import atomic_write
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.cohort.store import Store
from bedside.errors import IntegrityError
from bedside.evidence.estimate import Evidence
from bedside.models.predictions import Predictions
from bedside.models.task import task_from_json


def put_folder(store: Store, folder: Path) -> str:
    """Keep every file of a folder; returns the digest of its manifest {relative path: digest}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {path.relative_to(folder).as_posix(): store.put(path.read_bytes()) for path in files}
    return store.put(_manifest(manifest))


def folder_digest(files: Mapping[str, str]) -> str:
    """The digest under which `put_folder` keeps these files, {relative path: digest}."""
    return sha256_hex(_manifest(files))


def _manifest(files: Mapping[str, str]) -> bytes:
    return canonical_json({"format": 1, "files": dict(files)})


def folder_files(store: Store, digest: str) -> dict[str, str]:
    """Relative path → digest of a kept folder; raises IntegrityError for a path that leaves it."""
    data = json.loads(store.get(digest))
    if data.get("format") != 1:
        raise IntegrityError(f"folder manifest {digest[:12]}: format {data.get('format')!r} is not known")
    for name in data["files"]:
        safe_relative(name)
    return dict(data["files"])


def lay_folder(store: Store, digest: str, into: Path) -> Path:
    """Write a kept folder out again below `into`; returns `into`."""
    for name, each in folder_files(store, digest).items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(target, store.get(each))
    return into


def safe_relative(name: str) -> PurePosixPath:
    """A relative path below its folder; raises IntegrityError for anything else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise IntegrityError(f"the path {name!r} leaves its folder")
    return path


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A table as Parquet bytes (zstd), the same for the same table and library version."""
    out = io.BytesIO()
    frame.write_parquet(out, compression="zstd", statistics=False)
    return out.getvalue()


def read_parquet_bytes(data: bytes) -> pl.DataFrame:
    """The inverse of `parquet_bytes`."""
    return pl.read_parquet(io.BytesIO(data))


def put_predictions(store: Store, predictions: Predictions) -> dict[str, str]:
    """Keep predictions; returns {"bytes": digest of the file, "content": their logical digest}."""
    return {"bytes": store.put(parquet_bytes(predictions.frame)), "content": predictions.digest}


def get_predictions(store: Store, kept: Mapping[str, str], task: Mapping[str, Any]) -> Predictions:
    """The inverse of `put_predictions`."""
    return Predictions(task_from_json(task), read_parquet_bytes(store.get(kept["bytes"])))


def put_evidence(store: Store, evidence: Evidence) -> str:
    """Keep a piece of evidence as canonical JSON; its digest is the evidence's own."""
    return store.put(canonical_json(evidence.to_json()))


def get_evidence(store: Store, digest: str) -> Evidence:
    """The inverse of `put_evidence`."""
    return Evidence.from_json(json.loads(store.get(digest)))
