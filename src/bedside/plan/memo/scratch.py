"""Scratch folders: held by a lock while their process lives, so that what a killed one left can be told and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedside.cohort.atomic import make_folder


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A new folder (mode 0700) below `place` that is gone afterwards, unless it was moved away."""
    make_folder(place)
    made, handle = _locked(place)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


@contextmanager
def resumable_folder(place: Path, name: str) -> Iterator[Path]:
    """A folder of one piece of work, gone when the work is done or has failed; only a killed process leaves it, for the
    next attempt to go on from. The caller sees to it that nobody else does the same work (the memo's lock)."""
    folder = place / name
    while True:
        make_folder(folder)
        try:
            handle = _lock(folder)
        except FileNotFoundError:  # swept between its making and its lock
            continue
        if folder.exists():
            break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(place: Path) -> int:
    """Remove the scratch folders of dead processes; returns how many."""
    count = 0
    for folder in sorted(place.iterdir()) if place.is_dir() else []:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            count += 1
        except BlockingIOError:
            continue  # a living process works in it
        finally:
            os.close(handle)
    return count


def _locked(place: Path) -> tuple[Path, int]:
    while True:
        made = Path(tempfile.mkdtemp(dir=place))
        try:
            handle = _lock(made)
        except FileNotFoundError:  # swept between its making and its lock
            continue
        if made.exists():
            return made, handle
        os.close(handle)


def _lock(folder: Path) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
