"""Source: the DICOM files of a folder, a ZIP, a DICOMDIR or one file, read without trusting a name or a size."""

from __future__ import annotations

import io
import mmap
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bedside.errors import DataError
from bedside.intake.dicom.quiet import needed, quiet
from bedside.intake.image_files import inside, listing

LARGEST = 4 << 30  # bytes of one file
MAPPED = 16 << 20  # files above are mapped, not read
RATIO = 1100  # deflate cannot do better than about 1032
MOST_MEMBERS = 1_000_000
SUFFIXES = (".dcm", ".dicom", ".ima")
DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class Entry:
    """One file: its path, or the member of a ZIP at that path; `name` is how it is called below the source."""

    path: Path
    name: str
    member: str | None = None

    def read(self) -> bytes:
        """All bytes. Raises DataError when it is too large, cannot be read, or unpacks to more than the ZIP says."""
        if self.member is None:
            return bytes(self.buffer())
        try:
            with zipfile.ZipFile(self.path) as archive:
                return member_bytes(archive, archive.getinfo(self.member))
        except (
            OSError,
            EOFError,
            zlib.error,
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            KeyError,
        ) as error:
            raise DataError(
                f"it cannot be unpacked: {type(error).__name__}", "check that the ZIP is whole and not encrypted"
            ) from None

    def buffer(self) -> bytes | memoryview:
        """The bytes, mapped instead of read where the file is large."""
        if self.member is not None:
            return self.read()
        try:
            size = self.path.stat().st_size
            if size > LARGEST:
                raise DataError(f"the file has {size / 2**30:.1f} GiB", f"files up to {LARGEST >> 30} GiB are read")
            if size <= MAPPED:
                return self.path.read_bytes()
            with self.path.open("rb") as stream:
                return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise DataError(f"it cannot be read: {error.strerror}", "check that you may read it") from None

    def head(self, size: int = 264) -> bytes:
        """The first bytes; empty where they cannot be had."""
        try:
            if self.member is None:
                with self.path.open("rb") as stream:
                    return stream.read(size)
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as packed:
                return packed.read(size)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError):
            return b""


def entries(source: Path | str) -> list[Entry]:
    """The files of a source, sorted by name; hidden ones are passed over. Raises DataError where there is none."""
    place = Path(source)
    if place.is_dir():
        found = [Entry(place / name, name) for name in listing(place)]
    elif not place.is_file():
        raise DataError(f"{place}: no such file or folder", "check the path")
    elif zipfile.is_zipfile(place):
        found = list(_members(place))
    elif is_dicomdir(place.read_bytes() if place.stat().st_size <= MAPPED else b""):
        found = list(_referenced(place))
    else:
        found = [Entry(place, place.name)]
    if not found:
        raise DataError(f"{place}: there is no file in it", "check the path")
    return found


def is_candidate(entry: Entry) -> bool:
    """Whether a file means to be DICOM: by its prefix, its suffix, or without either by its first element's group."""
    return means_dicom(entry.name, entry.head())


def means_dicom(name: str, head: bytes | memoryview) -> bool:
    """The same by the name and the first bytes."""
    if head[128:132] == b"DICM" or PurePosixPath(name).suffix.lower() in SUFFIXES:
        return True
    return not PurePosixPath(name).suffix and head[:2] in (b"\x08\0", b"\x02\0", b"\0\x08", b"\0\x02")


def is_dicomdir(data: bytes) -> bool:
    """Whether bytes are a DICOMDIR (Media Storage Directory Storage)."""
    return data[128:132] == b"DICM" and b"1.2.840.10008.1.3.10" in data[132:1024]


def member_bytes(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes:
    """The bytes of a ZIP's member, never more than it declares; raises DataError for a bomb."""
    if item.file_size > LARGEST or item.file_size > RATIO * max(1, item.compress_size) + 4096:
        raise DataError(
            f"it claims to unpack {item.compress_size:,} bytes to {item.file_size:,}",
            "unpack it yourself, if you trust it",
        )
    with archive.open(item) as stream:
        data = stream.read(item.file_size + 1)
    if len(data) != item.file_size:
        raise DataError("it unpacks to another size than the ZIP says", "make the ZIP anew")
    return data


def _members(place: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(place) as archive:
            items = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{place}: cannot be read: {type(error).__name__}", "check that the ZIP is whole") from None
    if len(items) > MOST_MEMBERS:
        raise DataError(f"{place}: the ZIP has {len(items):,} members", f"at most {MOST_MEMBERS:,} are read")
    seen: set[str] = set()
    for item in sorted(items, key=lambda each: each.filename):
        if item.is_dir() or item.filename.startswith("__MACOSX/"):
            continue
        name = inside(item.filename, str(place))
        if name in seen:
            raise DataError(f"{place}: two members are called {name[:80]}", "make the ZIP anew")
        seen.add(name)
        yield Entry(place, name, item.filename)


def _referenced(place: Path) -> Iterator[Entry]:
    """The files that the records of a DICOMDIR name (PS3.10 section 8), in its folder whatever the letters' case."""
    needed()
    import pydicom

    try:
        with quiet():
            records = pydicom.dcmread(io.BytesIO(place.read_bytes())).DirectoryRecordSequence
            ids = [record.ReferencedFileID for record in records if "ReferencedFileID" in record]
    except Exception as error:  # whatever pydicom raises for hostile bytes
        raise DataError(f"{place}: the DICOMDIR is damaged: {type(error).__name__}", "give its folder") from None
    there = {name.lower(): name for name in listing(place.parent)}
    for parts in ids:
        name = inside("/".join([parts] if isinstance(parts, str) else [str(each) for each in parts]), str(place))
        yield Entry(place.parent / there.get(name.lower(), name), name)
