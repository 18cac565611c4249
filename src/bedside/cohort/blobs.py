"""Named bytes in a folder or on an fsspec file system: the two places a store can lie."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bedside.cohort.atomic import (
    TEMPORARY,
    explained,
    publish,
    publish_all,
    sweep_temporaries,
    sync_folder,
    temporary_file,
)
from bedside.errors import BedsideError


class Blobs(Protocol):
    """Bytes under names such as `objects/ab/abcd…`; a name has either all of its bytes or none."""

    def path(self, name: str) -> str:
        """Where the bytes of a name lie."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a name has bytes."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A seekable stream; raises FileNotFoundError."""
        ...

    def head(self, name: str, size: int) -> bytes:
        """The first bytes of a name."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Bytes to a name, replacing what it had."""
        ...

    def write_all(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Bytes to each name; all are there when it returns, each wholly or not at all whenever it is interrupted."""
        ...

    def write_file(self, name: str, source: Path) -> None:
        """The bytes of a local file to a name, streamed."""
        ...

    def remove(self, name: str) -> None:
        """Remove a name; no error when it is not there."""
        ...

    def names(self, prefix: str) -> list[str]:
        """All names below a prefix (a folder), sorted."""
        ...

    def sweep(self) -> int:
        """Remove what killed writers left; returns how many files."""
        ...


class FolderBlobs:
    """Blobs in a local folder: files 0600, folders 0700, each write atomic and durable."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aside = root / "tmp"

    def path(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.root / name).is_file()

    def open(self, name: str) -> BinaryIO:
        """The file, opened for reading."""
        return (self.root / name).open("rb")

    def head(self, name: str, size: int) -> bytes:
        """The file's first bytes."""
        with self.open(name) as stream:
            return stream.read(size)

    def write(self, name: str, data: bytes) -> None:
        """Write aside, fsync, rename."""
        path = self.root / name
        with explained(path), temporary_file(self.aside) as temporary:
            temporary.write_bytes(data)
            publish(temporary, path)

    def write_all(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Write all aside, fsync, rename, fsync each folder once."""
        with explained(self.root), ExitStack() as held:
            pairs = []
            for name, data in items:
                temporary = held.enter_context(temporary_file(self.aside))
                temporary.write_bytes(data)
                pairs.append((temporary, self.root / name))
            publish_all(pairs)

    def write_file(self, name: str, source: Path) -> None:
        """Copy aside, fsync, rename; a source already in `aside` is renamed without a copy."""
        path = self.root / name
        with explained(path):
            if source.parent == self.aside:
                publish(source, path)
                return
            with temporary_file(self.aside) as temporary:
                shutil.copyfile(source, temporary)
                publish(temporary, path)

    def remove(self, name: str) -> None:
        """Unlink, durably."""
        path = self.root / name
        with explained(path):
            if path.is_file():
                path.unlink()
                sync_folder(path.parent)

    def names(self, prefix: str) -> list[str]:
        """Relative paths of the files below a folder."""
        folder = self.root / prefix
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY))
        return sorted(path.relative_to(self.root).as_posix() for path in files)

    def sweep(self) -> int:
        """Remove temporary files whose writer is dead."""
        return sweep_temporaries(self.aside)


class RemoteBlobs:
    """Blobs on any other fsspec file system; one object is one PUT, which object stores make atomic."""

    def __init__(self, fs: Any, root: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        """The key on the file system, with its protocol."""
        return str(self.fs.unstrip_protocol(f"{self.root}/{name}"))

    def exists(self, name: str) -> bool:
        """Whether the key is there now, not in a cached listing."""
        self.fs.invalidate_cache()
        return bool(self.fs.isfile(f"{self.root}/{name}"))

    def open(self, name: str) -> BinaryIO:
        """The bytes, in memory."""
        return io.BytesIO(self.fs.cat_file(f"{self.root}/{name}"))

    def head(self, name: str, size: int) -> bytes:
        """One ranged GET."""
        return bytes(self.fs.cat_file(f"{self.root}/{name}", 0, size))

    def write(self, name: str, data: bytes) -> None:
        """One PUT."""
        path = f"{self.root}/{name}"
        with explained(self.path(name)):
            self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self.fs.pipe_file(path, data)

    def write_all(self, items: Sequence[tuple[str, bytes]]) -> None:
        """One PUT each, several at once where the file system can."""
        with explained(self.path("")):
            self.fs.pipe({f"{self.root}/{name}": data for name, data in items})

    def write_file(self, name: str, source: Path) -> None:
        """One (multipart) PUT of a local file."""
        path = f"{self.root}/{name}"
        with explained(self.path(name)):
            self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self.fs.put_file(str(source), path)

    def remove(self, name: str) -> None:
        """Remove the key."""
        if self.exists(name):
            with explained(self.path(name)):
                self.fs.rm_file(f"{self.root}/{name}")

    def names(self, prefix: str) -> list[str]:
        """Keys below a prefix, relative to the root."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(f"{self.root}/{prefix}")
        except FileNotFoundError:
            return []
        root = self.fs._strip_protocol(self.root).rstrip("/")
        return sorted(str(path)[len(root) + 1 :] for path in found)

    def sweep(self) -> int:
        """Nothing is written aside here."""
        return 0


def blobs_at(url: str | Path) -> FolderBlobs | RemoteBlobs:
    """The place a URL or path names; raises BedsideError for a protocol that is unknown or not installed."""
    if isinstance(url, Path) or "://" not in url:
        return FolderBlobs(Path(url).expanduser().absolute())
    from fsspec.core import url_to_fs  # kept out of the start-up of a local store

    try:
        fs, root = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise BedsideError(
            f"cannot open the store {url.split('://', 1)[0]}://…: {error}",
            "install its fsspec package, or name a folder",
        ) from error
    if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
        return FolderBlobs(Path(root))
    return RemoteBlobs(fs, root)
