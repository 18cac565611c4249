"""Digests of the files that a plan reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bedside.errors import DataError


def source_digests(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of every file of a folder by relative path; raises DataError when there is none."""
    if path.is_file():
        return {path.name: file_digest(path)}
    if path.is_dir():
        return {p.relative_to(path).as_posix(): file_digest(p) for p in sorted(path.rglob("*")) if p.is_file()}
    raise DataError(f"no such file or folder: '{path}'", "the path is relative to the plan's own folder")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unchanged(work: Callable[[], dict[str, Any]], sources: Mapping[Path, Mapping[str, str]]) -> dict[str, Any]:
    """What `work` gives; raises DataError when a source has not the digests any more that it had before, since what
    was read is then remembered under the name of something else."""
    output = work()
    for place, before in sources.items():
        if source_digests(place) != before:
            raise DataError(f"{place} changed while it was being read", "run again when nobody writes to it any more")
    return output
