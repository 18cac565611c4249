"""Digests of the files that a plan reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
