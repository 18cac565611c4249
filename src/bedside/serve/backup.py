"""Backup and restore of a workspace: a folder that holds all of it but caches and secret keys, by digest.

A backup is taken while the service runs. Databases are copied first (each as it is at one moment, by SQLite's own
backup), then the files that they name, which are durable before they are named and never changed. `backup.json`
(format 1) is written last: path → SHA-256 of every file, and the heads of ledger and audit trail. A restore believes
nothing before digests, chains, seals and releases were found right. Secret keys lie apart, in a file of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa
import yaml

from bedside.cohort.atomic import TEMPORARY, atomic_write, explained, make_folder, sync_folder
from bedside.cohort.digest import canonical_json, sha256_hex
from bedside.cohort.workspace import Workspace
from bedside.errors import BedsideError, IntegrityError
from bedside.evidence.keys import load_or_create_key, trusted_keys
from bedside.evidence.ledger import Head, Ledger
from bedside.plan.release.layout import LOCAL_KEY
from bedside.plan.release.opened import open_release
from bedside.serve.audit import checked_rows
from bedside.serve.backup_keys import read_keys
from bedside.serve.database import Database

FORMAT = 1
MANIFEST = "backup.json"
DATABASES = ("memo", "ledger", "service", "jobs")
ELSEWHERE = ("cache", "keys", "store", "releases")  # folders of the home that are not copied as they stand
TRUSTED = "keys/trusted"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """A backup as it was written or read. `digest` is that of its manifest: who keeps it knows a changed backup.

    `outside` names what lies in no file here (a database server, an object store) and is not in the backup; `damaged`
    the objects of the store that were not what their digest says and were left out.
    """

    folder: Path
    digest: str
    files: Mapping[str, str]
    ledger: Head
    audit: Head
    key: str
    outside: Mapping[str, str]
    damaged: tuple[str, ...]


def back_up(workspace: Workspace, folder: Path) -> Backup:
    """Copy a workspace into a new or empty folder (mode 0700); the service may run meanwhile.

    Raises BedsideError where the folder holds something or cannot be written, IntegrityError where the ledger or the
    audit trail that was copied is broken.
    """
    _refuse_full(folder, "a backup begins in an empty folder: name another")
    if folder.resolve().is_relative_to(workspace.home.resolve()):
        raise BedsideError(f"{folder} lies inside the workspace", "name a folder on another disk")
    files: dict[str, str] = {}
    damaged: list[str] = []
    outside = {}
    with explained(folder), workspace.lock("forget"):
        make_folder(folder)
        with workspace.lock("releases"), workspace.lock("approvals"):
            for name in DATABASES:
                url = getattr(workspace, f"{name}_url")
                source = _file_of(url)
                if source is None:
                    outside[name] = sa.make_url(url).render_as_string(hide_password=True)
                elif source.exists():
                    _copy_database(source, folder / f"{name}.sqlite")
            files |= _copy_tree(workspace.home, "releases", folder)
        store = _folder_of_store(workspace)
        for place in sorted(each for each in workspace.home.iterdir() if each.is_dir() and not each.is_symlink()):
            if place.name not in ELSEWHERE and not place.name.startswith(".") and place != store:
                files |= _copy_tree(workspace.home, place.name, folder)
        files |= _copy_tree(workspace.home, TRUSTED, folder)
        if store is None:
            outside["store"] = workspace.store.url
        else:
            for name, digest in _copy_tree(store, ".", folder / "store", skip="tmp").items():
                if name.startswith("objects/") and digest != PurePosixPath(name).name:
                    damaged.append(PurePosixPath(name).name)
                    (folder / "store" / name).unlink()
                else:
                    files[f"store/{name}"] = digest
        config = {name: getattr(workspace.config, name) for name in outside}
        key = load_or_create_key(workspace.keys, LOCAL_KEY)
        ledger, audit = _heads(folder, outside, key.public)
        files |= {each.name: _settled(each) for each in sorted(folder.glob("*.sqlite"))}
        manifest = {
            "format": FORMAT,
            "files": files,
            "ledger": vars(ledger),
            "audit": vars(audit),
            "key": key.key_id,
            "config": config,
            "outside": outside,
            "damaged": damaged,
        }
        os.sync()  # all of it at once; a file at a time would take hours
        data = canonical_json(manifest)
        atomic_write(folder / MANIFEST, data)
    return Backup(folder, sha256_hex(data), files, ledger, audit, key.key_id, outside, tuple(damaged))


def restore(folder: Path, home: Path, keys: Path, *, passphrase: str | None = None, expect: str = "") -> Backup:
    """Lay a backup down as a workspace at `home`, which must not be there yet, with the keys of a key file.

    `expect` is the backup's digest as it was printed, or its beginning. Everything is checked beside `home` and gets
    its name last. Raises IntegrityError where a file, the ledger, the audit trail or a release is not what it was, and
    BedsideError for keys that are not this workspace's.
    """
    _refuse_full(home, "a restore begins in an empty folder: name another --home")
    backup, config = _read(folder, expect)
    with explained(home):
        make_folder(home.absolute().parent)
        aside = home.absolute().parent / f".{home.name}.restoring-{secrets.token_hex(4)}"
        aside.mkdir(mode=0o700)
        try:
            for name, digest in backup.files.items():
                if _copy(folder / name, aside / name) != digest:
                    raise IntegrityError(f"{name} of the backup was changed or damaged", "use another backup")
            for name, data in read_keys(keys, passphrase).items():
                atomic_write(aside / "keys" / name, data)
            if config:
                atomic_write(aside / "config.yaml", yaml.safe_dump(config).encode())
            _drill(aside, backup)
            os.sync()
            if home.exists():
                home.rmdir()
            aside.replace(home)
            sync_folder(home.absolute().parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return backup


def _drill(home: Path, backup: Backup) -> None:
    """What must hold before a restored workspace gets its name: its key, its chains up to the known heads, releases."""
    key = load_or_create_key(home / "keys", LOCAL_KEY)
    if key.key_id != backup.key:
        raise BedsideError("these keys are not those of the workspace that was backed up", "name its own key file")
    if _heads(home, backup.outside, key.public) != (backup.ledger, backup.audit):
        raise IntegrityError("ledger or audit trail is not that of the manifest", "use another backup")
    trusted = trusted_keys(home / "keys")
    for release in sorted(each for each in (home / "releases").glob("*") if each.is_dir()):
        open_release(release, trusted)


def _heads(home: Path, outside: Mapping[str, str], public: bytes) -> tuple[Head, Head]:
    """The heads of ledger and audit trail in a folder, each whole chain checked; empty where they lie elsewhere."""
    ledger = audit = Head(0, "0" * 64)
    if "ledger" not in outside:
        ledger = Ledger(f"sqlite:///{home / 'ledger.sqlite'}").verify().head
    if "service" not in outside and (home / "service.sqlite").exists():
        with closing(Database(f"sqlite:///{home / 'service.sqlite'}")) as database:
            for row in checked_rows(database, public):
                audit = Head(row.index + 1, row.hash)
    return ledger, audit


def _read(folder: Path, expect: str) -> tuple[Backup, dict[str, Any]]:
    """A backup's manifest and what config.yaml is to say; the names in it stay inside the folder."""
    try:
        data = (folder / MANIFEST).read_bytes()
        told = json.loads(data)
        if told["format"] != FORMAT:
            raise IntegrityError(f"{folder / MANIFEST} is of another format", "read it with a newer bedside")
        digest = sha256_hex(data)
        ledger, audit = Head(**told["ledger"]), Head(**told["audit"])
        more = (ledger, audit, told["key"], told["outside"], tuple(told["damaged"]))
        made = Backup(folder, digest, {str(k): str(v) for k, v in told["files"].items()}, *more)
        config = {str(k): str(v) for k, v in told["config"].items()}
    except OSError as error:
        raise BedsideError(
            f"{folder} holds no whole backup: {MANIFEST} cannot be read ({error.strerror})", "name another folder"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{folder / MANIFEST} is not a backup's manifest", "use another backup") from None
    if not digest.startswith(expect.lower()):
        raise IntegrityError(f"this backup has the digest {digest[:16]}…, another was expected", "use another backup")
    for name in made.files:
        if not _belongs(PurePosixPath(name)):
            raise IntegrityError(f"the backup names a file that belongs to no workspace: {name[:80]}", "do not use it")
        if (folder / name).is_symlink():
            raise IntegrityError(f"{name[:80]} of the backup is a link", "do not use it")
    return made, config


def _belongs(path: PurePosixPath) -> bool:
    """Whether a restore may write this: a database, or a file inside a folder that a backup copies."""
    if not path.parts or path.is_absolute() or ".." in path.parts or path.parts[0].startswith("."):
        return False
    if len(path.parts) == 1:
        return path.suffix == ".sqlite" and path.stem in DATABASES
    return path.parts[0] not in ("cache", "keys") or path.is_relative_to(TRUSTED)


def _copy_database(source: Path, target: Path) -> None:
    """A SQLite file as it is at one moment."""
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _settled(database: Path) -> str:
    """The digest of a SQLite file once it is one file, without a log beside it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with database.open("rb") as made:
        return hashlib.file_digest(made, "sha256").hexdigest()


def _copy_tree(root: Path, place: str, target: Path, skip: str = "") -> dict[str, str]:
    """Copy the plain files below a folder; their digests by relative path. What is being written is left out."""
    out = {}
    for name in _names(root, root / place, skip):
        with suppress(FileNotFoundError):  # a killed or finished run's scratch file, swept meanwhile
            out[name] = _copy(root / name, target / name)
    return out


def _names(root: Path, folder: Path, skip: str) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not path.is_symlink() and not path.name.startswith(TEMPORARY) and name.parts[0] != skip:
            yield name.as_posix()


def _copy(source: Path, target: Path) -> str:
    """Copy a file (mode 0600); the SHA-256 of the bytes that were copied."""
    state = hashlib.sha256()
    with source.open("rb") as old:
        make_folder(target.parent)
        target.touch(mode=0o600, exist_ok=False)
        with target.open("wb") as new:
            while block := old.read(_BLOCK):
                state.update(block)
                new.write(block)
    return state.hexdigest()


def _file_of(url: str) -> Path | None:
    """The file of a SQLite URL, or None for a server."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _folder_of_store(workspace: Workspace) -> Path | None:
    """The store's local folder, or None where it lies on an object store."""
    place = workspace.store.path_of("0" * 64)
    return None if "://" in place else Path(place).parents[2]


def _refuse_full(folder: Path, way_out: str) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BedsideError(f"{folder} holds something already", way_out)
