"""Files that are wholly there or not at all: written aside, fsynced, renamed, and their folder fsynced.

A temporary file is locked (flock) by its writer while it lives, so `sweep_temporaries` removes what a killed process
left and nothing that a living one writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import polars as pl

from bedside.errors import BedsideError

TEMPORARY = ".writing-"
SYNCS = 16  # how many fsyncs may wait at once: they wait for the disk, not for a processor

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, mode 0700, and make their names durable."""
    missing = [folder]
    while not missing[-1].exists() and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
            sync_folder(path.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that names made or removed in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """A new empty file (mode 0600) in `folder` to write to and `publish`; removed if it is still there at the end."""
    make_folder(folder)
    path, handle = locked_file(folder)
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(handle)


def locked_file(folder: Path) -> tuple[Path, int]:
    """A new empty file (mode 0600) in a folder, and the handle that holds it against `sweep_temporaries`."""
    while True:
        path = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:  # else swept between its making and its lock
            return path, handle
        os.close(handle)


def publish(temporary: Path, path: Path) -> None:
    """Make the bytes of `temporary` durable, and give them the name `path` (same file system) durably."""
    _sync(temporary)
    make_folder(path.parent)
    temporary.replace(path)
    sync_folder(path.parent)


def publish_all(pairs: Sequence[tuple[Path, Path]]) -> None:
    """`publish` of many (temporary, path): the bytes of all are made durable, several at a time so that the disk may
    flush them together; then each gets its name, and each folder is made durable once."""
    with ThreadPoolExecutor(SYNCS) as pool:
        for _ in pool.map(lambda pair: _sync(pair[0]), pairs):
            pass
    for folder in dict.fromkeys(path.parent for _, path in pairs):
        make_folder(folder)
    for temporary, path in pairs:
        temporary.replace(path)
    with ThreadPoolExecutor(SYNCS) as pool:
        for _ in pool.map(sync_folder, dict.fromkeys(path.parent for _, path in pairs)):
            pass


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file (mode 0600) atomically and durably; raises BedsideError when disk or folder do not let it."""
    with explained(path), temporary_file(path.parent) as aside:
        aside.write_bytes(data)
        publish(aside, path)


def sweep_temporaries(folder: Path) -> int:
    """Remove what killed writers left in a folder (not below it); returns how many files."""
    count = 0
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            count += 1
        except BlockingIOError:
            continue  # a living process writes it
        finally:
            os.close(handle)
    return count


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turns a failed write below into a BedsideError that names the path and the way out."""
    try:
        yield
    except OSError as error:
        raise_explained(path, error)
    except pl.exceptions.PolarsError as error:
        code = re.search(r"os error (\d+)", str(error))  # how polars tells what the system refused
        if code is None:
            raise
        raise_explained(path, OSError(int(code[1]), os.strerror(int(code[1]))))


def raise_explained(path: Path | str, error: OSError) -> NoReturn:
    """Raises the BedsideError of an OSError that came while writing `path`."""
    if error.errno in _FULL:
        raise BedsideError(
            f"the disk (or quota) is full: {path} was not written, and nothing of it was kept",
            "free some space, or put the workspace elsewhere with --home or BEDSIDE_HOME",
        ) from error
    if error.errno in _REFUSED:
        raise BedsideError(
            f"{path} cannot be written: {os.strerror(error.errno)}",
            "put the workspace where you may write, with --home or BEDSIDE_HOME",
        ) from error
    raise BedsideError(f"{path} cannot be written: {error}", "check the disk and the folder") from error
