"""Files: where the bytes lie that file-like fields name, whether in a store, in a user's folder or in memory.

A file-like field holds the digest of a `Manifest`; manifest and files are fetched here by digest and verified, so a
reader needs no store: its cohort's `files` know where the bytes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from bedside.cohort.digest import sha256_hex
from bedside.errors import IntegrityError


@runtime_checkable
class Files(Protocol):
    """Bytes by their SHA-256. A `Store` is one too."""

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, verified; raises IntegrityError when they are missing or were changed."""
        ...

    def put(self, data: bytes) -> str:
        """Keep bytes; returns their digest."""
        ...

    def has(self, digest: str) -> bool:
        """Whether there are bytes of this digest."""
        ...


class MemoryFiles:
    """Bytes in memory, over other files that are asked for what is not here (and are never written to)."""

    def __init__(self, below: Files | None = None) -> None:
        self._held: dict[str, bytes] = {}
        self._below = below

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, from memory or from the files below."""
        if digest in self._held:
            return self._held[digest]
        if self._below is None:
            raise _absent(digest)
        return self._below.get(digest)

    def put(self, data: bytes) -> str:
        """Keep bytes in memory; returns their digest."""
        digest = sha256_hex(data)
        self._held[digest] = data
        return digest

    def has(self, digest: str) -> bool:
        """Whether the bytes are in memory or below."""
        return digest in self._held or (self._below is not None and self._below.has(digest))


class FolderFiles(MemoryFiles):
    """Files that lie where their owner put them (`paths`: digest → path); what is put is kept in memory.

    Bytes are read when asked for; raises IntegrityError for a file that was changed or removed since it was digested.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        super().__init__()
        self._paths = dict(paths)

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, verified."""
        if digest in self._held or digest not in self._paths:
            return super().get(digest)
        path = self._paths[digest]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read any more: {error.strerror}", "read the data again") from None
        if sha256_hex(data) != digest:
            raise IntegrityError(f"{path} was changed after it was read", "read the data again")
        return data

    def has(self, digest: str) -> bool:
        """Whether the digest is one of the folder's, or was put."""
        return digest in self._paths or super().has(digest)


def _absent(digest: str) -> IntegrityError:
    return IntegrityError(f"the file {digest} is not at hand", "read the data again, or fetch it from its store")
