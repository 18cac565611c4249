"""Backup and restore: a workspace as one archive, whole at one moment, and a workspace made of it again.

The databases are copied by SQLite's own online backup, so the service may go on; everything else is written once and
never changed, or small. Every file is listed with its SHA-256, and a restore that does not find them all so is refused.
Keys are in it: keep the archive as you keep the keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO

from bedside.cohort.atomic import make_folder, publish, temporary_file
from bedside.cohort.digest import canonical_json
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, DataError, IntegrityError

LISTING = "backup.json"
FORMAT = 1
DATABASES = ("memo.sqlite", "ledger.sqlite", "service.sqlite", "jobs.sqlite")
KEPT = ("store", "runs", "releases", "keys", "quarantine", "plans", "demo")
_AGAIN = "take the archive again from where it was kept"
_NAME = re.compile(r"(?!/)(?:[^/\0]+/)*[^/\0]+")


def back_up(workspace: Workspace, target: Path) -> int:
    """Write the workspace into an archive (tar); returns how many files. Raises BedsideError where a database or the
    store lies elsewhere: it is backed up there."""
    elsewhere = [
        name for name in ("store", "memo", "ledger", "service", "jobs") if getattr(workspace.config, name) is not None
    ]
    if elsewhere:
        raise BedsideError(
            f"{', '.join(elsewhere)} lie outside the workspace (config.yaml)", "back them up with their own tools"
        )
    if target.exists():
        raise BedsideError(f"{target} is there already", "name a new file")
    listing: dict[str, str] = {}
    with temporary_file(target.resolve().parent) as aside:
        with tarfile.open(aside, "w") as archive:
            for name, data in _contents(workspace.home):
                listing[name] = _add(archive, name, data)
            _add(archive, LISTING, canonical_json({"format": FORMAT, "files": dict(sorted(listing.items()))}))
        publish(aside, target.resolve())
    return len(listing)


def _contents(home: Path) -> Iterator[tuple[str, bytes | Path]]:
    """Databases first: what they name was written before, and nothing that is written is taken away but by `forget`."""
    for name in DATABASES:
        if (home / name).is_file():
            yield name, _database(home / name)
    if (home / "config.yaml").is_file():
        yield "config.yaml", home / "config.yaml"
    for folder in KEPT:
        for path in sorted((home / folder).rglob("*")) if (home / folder).is_dir() else []:
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                yield path.relative_to(home).as_posix(), path


def _database(file: Path) -> bytes:
    """A database as it is at one moment, though others write to it."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return bytes(copy.serialize())


def _add(archive: tarfile.TarFile, name: str, data: bytes | Path) -> str:
    """Put a file into the archive; its SHA-256."""
    item = tarfile.TarInfo(name)
    item.mode = 0o600
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as stream:
        digest = _sha256(stream)
        item.size = stream.tell()
        stream.seek(0)
        archive.addfile(item, stream)
    return digest


def _sha256(stream: IO[bytes]) -> str:
    state = hashlib.sha256()
    while piece := stream.read(1 << 20):
        state.update(piece)
    return state.hexdigest()


def restore(source: Path, home: Path) -> int:
    """Make a workspace of an archive where there is none; returns how many files.

    Raises BedsideError where one is, IntegrityError where the archive is not, byte for byte, what was written.
    """
    if home.exists() and any(home.iterdir()):
        raise BedsideError(f"{home} is not empty", "restore into a new --home, then move it")
    try:
        with tarfile.open(source, "r:") as archive:
            listing = _listing(archive)
            checked = [name for name, _ in _members(archive, listing)]
            if set(checked) != set(listing):
                raise IntegrityError(f"{source}: {len(set(listing) - set(checked))} files are missing", _AGAIN)
            for name, stream in _members(archive, listing):
                make_folder((home / name).parent)
                with (home / name).open("xb") as written:
                    (home / name).chmod(0o600)
                    shutil.copyfileobj(stream, written)
                    os.fsync(written.fileno())
    except tarfile.TarError as error:
        raise DataError(f"{source} cannot be read as a backup: {error}", "name a file of `bedside backup`") from None
    return len(listing)


def _members(archive: tarfile.TarFile, listing: Mapping[str, str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Every file but the listing; raises IntegrityError for one that is not, by name and SHA-256, in the listing."""
    for item in archive:
        if item.name == LISTING:
            continue
        stream = archive.extractfile(item) if item.isfile() else None
        known = _NAME.fullmatch(item.name) is not None and ".." not in Path(item.name).parts
        if stream is None or not known or listing.get(item.name) != _sha256(stream):
            raise IntegrityError(f"{item.name[:200]} in the archive is not what was backed up", _AGAIN)
        stream.seek(0)
        yield item.name, stream


def _listing(archive: tarfile.TarFile) -> dict[str, str]:
    try:
        opened = archive.extractfile(LISTING)
        data = json.loads(opened.read()) if opened is not None else None
    except (KeyError, ValueError):
        data = None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise IntegrityError("the archive has no listing of format 1", "name a file of `bedside backup`")
    return dict(data["files"])
