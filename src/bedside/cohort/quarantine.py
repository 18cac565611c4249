"""Quarantine: files that were refused, kept in the workspace with the reason, so that nothing is lost.

    <digest>          the file's bytes (not of one that could not be had, or is larger than `LARGEST`)
    <key>.json        {"format": 1, "file": digest | null, "bytes", "name", "subject", "what", "way_out"}

The key is the digest of the entry, so the same file refused twice for the same reason is one entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.cohort.atomic import atomic_write
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.errors import BedsideError

LARGEST = 1 << 30


@dataclass(frozen=True)
class Refused:
    """A file that was not read: where it lies, its path below the source, whose it is (where known), and why."""

    path: Path
    name: str
    subject: str | None
    why: BedsideError


class Quarantine:
    """The entries of one folder. Names and subjects stay in it: they are the site's own and go nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, refused: Refused) -> str:
        """Keep a refused file, durably, and the reason; returns the entry's key."""
        data = _bytes(refused.path)
        entry = {
            "format": 1,
            "file": None if data is None else sha256_hex(data),
            "bytes": None if data is None else len(data),
            "name": refused.name,
            "subject": refused.subject,
            "what": refused.why.what,
            "way_out": refused.why.way_out,
        }
        if data is not None and not (self.folder / sha256_hex(data)).exists():
            atomic_write(self.folder / sha256_hex(data), data)
        text = canonical_json(entry)
        atomic_write(self.folder / f"{sha256_hex(text)}.json", text)
        return sha256_hex(text)

    def entries(self) -> dict[str, Mapping[str, Any]]:
        """Every entry by its key."""
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self.folder.glob("*.json"))}

    def forget(self, subject: str) -> int:
        """Remove the entries of a subject, with the files that no other entry names; returns how many went.

        An entry whose subject is not known is the subject's when it has the subject's name: a row of its own.
        """
        entries = self.entries()
        gone = {key for key, each in entries.items() if subject in (each["subject"], each["name"])}
        kept = {each["file"] for key, each in entries.items() if key not in gone}
        for key in gone:
            file = entries[key]["file"]
            if file is not None and file not in kept:
                (self.folder / file).unlink(missing_ok=True)
            (self.folder / f"{key}.json").unlink()
        return len(gone)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST else None
    except OSError:
        return None
