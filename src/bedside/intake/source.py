"""Source: the bytes of one table, whether plain, gzipped or in a ZIP, told by content and not by suffix."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from bedside.errors import DataError

CHUNK = 1 << 20
Format = Literal["text", "parquet", "excel"]

_SAMPLE = 4 << 20
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CONTROL = bytes(set(range(32)) - set(b"\t\n\f\r"))


@dataclass(frozen=True)
class Source:
    """Where a table's bytes are: a file, the inside of a gzip file, or one member of a ZIP."""

    path: Path
    format: Format
    packed: Literal["", "gzip", "zip"] = ""
    member: str | None = None

    @property
    def label(self) -> str:
        """How errors name it: the path, and the member of a ZIP."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The table's own bytes; raises DataError when they cannot be unpacked."""
        with damaged(self):
            if self.packed == "gzip":
                with gzip.open(self.path) as stream:
                    yield stream  # type: ignore[misc]
            elif self.packed == "zip":
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member or "") as stream:
                    yield stream  # type: ignore[misc]
            else:
                with self.path.open("rb") as stream:
                    yield stream

    def pieces(self) -> Iterator[bytes]:
        """The table's own bytes in pieces of 1 MiB."""
        with self.open() as stream:
            while piece := stream.read(CHUNK):
                yield piece

    def digest(self) -> str:
        """SHA-256 of the file as it lies there."""
        state = hashlib.sha256()
        with self.path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                state.update(piece)
        return state.hexdigest()

    def sample(self) -> bytes:
        """The first 4 MiB of the table's own bytes; raises DataError when they are no text."""
        with self.open() as stream:
            head = stream.read(_SAMPLE)
        if not head:
            raise DataError(f"{self.label}: the file is empty", "check that it was copied wholly")
        if bom(head) != "utf-16" and head.translate(None, _CONTROL) != head:
            raise DataError(
                f"{self.label}: this is no text table: byte {_first_control(head)} is a control character",
                "give a CSV, TSV, Excel or Parquet file, or one of these in a ZIP",
            )
        return head

    def unpacked_size(self, sample: bytes) -> int:
        """Bytes of the table once unpacked: exact unless gzipped, then extrapolated from the sample's own ratio."""
        if self.packed == "zip":
            with damaged(self), zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member or "").file_size
        size = self.path.stat().st_size
        if self.packed == "gzip":
            return int(size * len(sample) / max(1, len(zlib.compress(sample, 6))))
        return size


@contextmanager
def damaged(source: Source) -> Iterator[None]:
    """Turn what unpacking and the disk raise into a DataError that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RecursionError):
            raise
        raise DataError(
            f"{source.label}: cannot be read: {type(error).__name__}: {error}",
            "check that the file is whole, not encrypted, and that you may read it",
        ) from error


def bom(head: bytes) -> str | None:
    """The encoding that a byte order mark names, or None."""
    return next((encoding for mark, encoding in _BOMS if head.startswith(mark)), None)


def locate(path: Path, member: str | None = None) -> Source:
    """The source at a path; `member` names the file in a ZIP of several. Raises DataError when there is none."""
    if not path.exists():
        near = sorted(item.name for item in path.parent.iterdir())[:8] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file", f"there is: {', '.join(near)}" if near else "check the path")
    if not path.is_file():
        raise DataError(f"{path}: is not a file", "name the table's own file")
    with damaged(Source(path, "text")), path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"\x1f\x8b"):
        return Source(path, "text", "gzip")
    if head.startswith(b"PAR1"):
        return Source(path, "parquet")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return Source(path, "excel")
    if head.startswith(b"PK\x03\x04"):
        return _in_zip(path, member)
    return Source(path, "text")


def _in_zip(path: Path, member: str | None) -> Source:
    with damaged(Source(path, "text", "zip")), zipfile.ZipFile(path) as archive:
        names = [item.filename for item in archive.infolist() if not item.is_dir()]
    if "[Content_Types].xml" in names:
        return Source(path, "excel")
    tables = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if member is not None:
        matching = [name for name in tables if name == member or Path(name).name == member]
        if len(matching) != 1:
            raise DataError(f"{path}: {len(matching)} members are called '{member}'", f"members: {', '.join(tables)}")
        return Source(path, "text", "zip", matching[0])
    if len(tables) != 1:
        raise DataError(
            f"{path}: the ZIP holds {len(tables)} files: {', '.join(tables[:10])}", "name one with `member:`"
        )
    return Source(path, "text", "zip", tables[0])


def _first_control(head: bytes) -> int:
    return next(i for i, byte in enumerate(head) if byte in _CONTROL)
