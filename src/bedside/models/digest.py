"""Digests of a model folder. Every file in it is written canonically, so equal models have equal digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bedside.cohort.digest import json_digest, sha256_hex
from bedside.errors import IntegrityError


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by its relative POSIX path, sorted; IntegrityError for a link."""
    out: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{name} in the model folder is not a plain file", "copy the model folder again")
        if path.is_file():
            out[name] = sha256_hex(path.read_bytes())
    return out


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder."""
    return json_digest({"format": 1, "files": file_digests(folder)})


def check_files(folder: Path, expected: Mapping[str, str], listing: str) -> None:
    """Raise IntegrityError unless a folder holds exactly these files (and `listing`, which names them), unchanged."""
    found = file_digests(folder)
    found.pop(listing, None)
    changed = sorted(name for name in expected if name in found and found[name] != expected[name])
    lacking = sorted(set(expected) - set(found))
    foreign = sorted(set(found) - set(expected))
    if changed or lacking or foreign:
        raise IntegrityError(
            f"model folder: changed {changed}, missing {lacking}, not part of it {foreign}",
            "get the model again from where it came",
        )
