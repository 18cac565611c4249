"""Boxes beside images: Pascal VOC files, each box a crop of its image with a class (Everingham 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.parsers import expat

from bedside.cohort.manifest import Manifest
from bedside.errors import DataError
from bedside.intake.image_files import bytes_of, inside

LARGEST = 16 << 20  # bytes of one file
NUMBERS = ("xmin", "ymin", "xmax", "ymax")


class Box(NamedTuple):
    """A class, and the first and last column and row that are inside, counted from 1 as VOC does."""

    label: str
    left: int
    top: int
    right: int
    bottom: int


def boxes_of(folder: Path, place: str, name: str) -> list[Box]:
    """The boxes of an image: from <place>/<its path>.xml, else <place>/<its file name>.xml.

    Raises DataError when there is no such file, or it is no VOC file.
    """
    own = PurePosixPath(name).with_suffix(".xml")
    for each in (own, PurePosixPath(own.name)):
        path = (PurePosixPath(inside(place, "boxes")) / each).as_posix()
        if (folder / path).is_file():
            return parse(bytes_of(folder, path), path)
    raise DataError(f"there is no {own.name} in '{place}'", "give each image its file of boxes")


def parse(data: bytes, where: str) -> list[Box]:
    """The objects of a VOC file. Raises DataError for anything else; entities are refused before they are expanded."""
    if len(data) > LARGEST:
        raise DataError(f"{where} has {len(data):,} bytes", "files of boxes are small; is it one?")
    found: list[dict[str, str]] = []
    path: list[str] = []

    def start(tag: str, _: object) -> None:
        path.append(tag)
        if path[-2:] == ["annotation", "object"]:
            found.append({})

    def end(_: str) -> None:
        path.pop()

    def text(value: str) -> None:
        if path[:2] == ["annotation", "object"] and (path[2:] == ["name"] or path[2:-1] == ["bndbox"]):
            found[-1][path[-1]] = found[-1].get(path[-1], "") + value

    def refuse(*_: object) -> None:
        raise DataError(f"{where} declares entities", "export the boxes again without them")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = text, refuse
    try:
        parser.Parse(data, True)
        return [Box(each["name"].strip(), *(round(float(each[name])) for name in NUMBERS)) for each in found]
    except expat.ExpatError as error:
        raise DataError(f"{where} is no XML: {error}", "export the boxes again as Pascal VOC") from None
    except (KeyError, ValueError, OverflowError):
        raise DataError(f"{where}: an object lacks its name or box", "export the boxes again as Pascal VOC") from None


def crops(image: Manifest, boxes: Sequence[Box], where: str) -> list[Manifest]:
    """The image's manifest cut to each box, as far as it lies inside; raises DataError for one that lies outside."""
    height, width, channels = image.shape
    out = []
    for box in boxes:
        left, top = max(box.left - 1, 0), max(box.top - 1, 0)
        w, h = min(box.right, width) - left, min(box.bottom, height) - top
        if w < 1 or h < 1:
            raise DataError(f"{where}: a box of '{box.label}' holds no pixel", "mend or remove it")
        out.append(image.with_op({"op": "crop", "top": top, "left": left, "height": h, "width": w}, (h, w, channels)))
    return out
