"""Files of images below a folder: their listing, their bytes, and paths that never leave the folder."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bedside.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".ima", ".npy")
LARGEST = 1 << 30  # bytes of one file


def bytes_of(folder: Path, name: str) -> bytes:
    """The bytes of a file of a folder; raises DataError when it leaves the folder, is too large or is not there."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError("the file is a link that leaves the folder", "copy it into the folder")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"the file has {size / 2**30:.1f} GiB", "images up to 1 GiB are read")
        return path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in _siblings(path)], n=1)
        raise DataError("there is no such file", f"did you mean {near[0]}?" if near else "check the path") from None
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", "check that you may read it") from None


def _siblings(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir()) if path.parent.is_dir() else []


def inside(name: str, where: str) -> str:
    """A relative path that stays below its folder, written with slashes; raises DataError for any other."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts or ":" in path.parts[0]:
        raise DataError(f"{where}: the path {name[:80]!r} leaves the folder", "give paths relative to the folder")
    return path.as_posix()


def listing(folder: Path) -> list[str]:
    """Relative paths of all files of a folder, sorted; hidden ones are passed over."""
    return sorted(path.relative_to(folder).as_posix() for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for item in folder.iterdir():
        if item.name.startswith("."):
            continue
        if item.is_dir() and not item.is_symlink():
            yield from _walk(item)
        elif item.is_file():
            yield item


def looks_like_image(path: Path) -> bool:
    """Whether a file's suffix, or without one its first bytes, are those of an image."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as stream:  # DICOM files often have no suffix
        return stream.read(132)[128:] == b"DICM"
