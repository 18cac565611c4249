"""Digests of a model folder. Every file in it is written canonically, so equal models have equal digests.

A folder has one listing (a JSON file) that holds the SHA-256 of every other file, and its own under "digest": one
changed byte anywhere is found on loading. That finds damage; who wrote the folder is for the release's signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedside.cohort.digest import canonical_json, json_digest, sha256_hex
from bedside.errors import IntegrityError, PlanError

_WAY_OUT = "get the model again from where it came"


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
            _WAY_OUT,
        )


def write_listing(path: Path, content: Mapping[str, Any], who: str) -> None:
    """Write a listing (`format` 1) with its digest; raises PlanError naming `who` when a parameter is not JSON."""
    listing = {**content, "format": 1}
    try:
        path.write_bytes(canonical_json({**listing, "digest": json_digest(listing)}))
    except (ValueError, TypeError) as error:
        raise PlanError(f"'{who}' has a parameter that cannot be saved: {error}", "give a finite number") from None


def read_listing(path: Path) -> dict[str, Any]:
    """The content of a listing; raises IntegrityError unless it is, byte for byte, what `write_listing` wrote."""
    try:
        data = path.read_bytes()
        content = json.loads(data)
        digest = content.pop("digest")
        written = canonical_json({**content, "digest": json_digest(content)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{path.name} cannot be read: {error}", _WAY_OUT) from None
    if digest != json_digest(content) or written != data:
        raise IntegrityError(f"{path.name} was changed: its content is not what its digest says", _WAY_OUT)
    if content.get("format") != 1:
        raise IntegrityError(f"{path.name} is not of format 1", "read it with a newer bedside")
    return dict(content)
