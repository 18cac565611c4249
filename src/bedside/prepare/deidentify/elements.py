"""Elements: the raw data elements of a DICOM data set (PS3.5 section 7) by position, with no value decoded.

A walker that trusts nothing: each length must lie inside what holds it, each VR must be one of the standard's, tags
must rise. What is odd raises `Odd`, and the slow path (`odd`) may read it; what cannot be raises DataError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from bedside.errors import DataError

VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010
DEEPEST = 32
MOST_ELEMENTS = 1_000_000

Buffer = bytes | memoryview


class Odd(Exception):  # a way to take, not a failure
    """This data set is not what its transfer syntax says; the slow path may read it."""


class Encoding(NamedTuple):
    """How elements are written."""

    implicit: bool = False
    big: bool = False


class Element(NamedTuple):
    """One element: its bytes are buffer[start:end], its value buffer[value:end]; `items` of a sequence, else None.

    An element of undefined length has its delimiter inside [value, end); encapsulated pixels have no items.
    """

    tag: int
    vr: str
    start: int
    value: int
    end: int
    items: list[list[Element]] | None


@dataclass
class Walker:
    """Walks the data set in a buffer. `vr_of` tells a tag's VR under implicit syntax (None: unknown)."""

    data: Buffer
    encoding: Encoding

    def __post_init__(self) -> None:
        order = ">" if self.encoding.big else "<"
        self._head = struct.Struct(order + "HH2sH").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._tag_length = struct.Struct(order + "HHI").unpack_from
        self._left = MOST_ELEMENTS

    def walk(self, start: int = 0) -> list[Element]:
        """All elements from `start` to the end of the buffer."""
        found, end = self._dataset(start, len(self.data), self.encoding.implicit, False, 0)
        if end != len(self.data):
            raise Odd("bytes are left after the last element")
        return found

    def _dataset(self, at: int, end: int, implicit: bool, delimited: bool, depth: int) -> tuple[list[Element], int]:
        if depth > DEEPEST:
            raise DataError(f"sequences are nested deeper than {DEEPEST}", "no real object is; ask who made the file")
        out: list[Element] = []
        last = -1
        while at < end:
            if at + 8 > end:
                raise _cut(at)
            group, number, vr, length = self._head(self.data, at)
            tag = group << 16 | number
            if tag == ITEM_END and delimited:
                return out, at + 8
            if tag <= last:
                raise Odd(f"the tag ({group:04x},{number:04x}) does not rise")
            if group == 0xFFFE:
                raise Odd("an item stands where an element should")
            last = tag
            self._left -= 1
            if self._left < 0:
                raise DataError(f"more than {MOST_ELEMENTS:,} elements", "no real object has them")
            start = at
            if implicit:
                (length,) = self._long(self.data, at + 4)
                name = _implicit_vr(tag)
                at += 8
            elif vr in LONG:
                if at + 12 > end:
                    raise _cut(at)
                (length,) = self._long(self.data, at + 8)
                name = vr.decode()
                at += 12
            elif vr in VRS:
                name = vr.decode()
                at += 8
            else:
                raise Odd(f"({group:04x},{number:04x}) has no VR of the standard")
            if name == "SQ" or (length == UNDEFINED and not (tag == PIXELS and name in ("OB", "OW"))):
                items, stop = self._items(at, end, length, implicit or name == "UN", depth + 1)
                out.append(Element(tag, name, start, at, stop, items))
                at = stop
            elif length == UNDEFINED:
                stop = self._fragments(at, end)
                out.append(Element(tag, name, start, at, stop, None))
                at = stop
            else:
                if at + length > end:
                    raise _cut(start)
                out.append(Element(tag, name, start, at, at + length, None))
                at += length
        if delimited:
            raise _cut(at)
        return out, at

    def _items(self, at: int, end: int, length: int, implicit: bool, depth: int) -> tuple[list[list[Element]], int]:
        undefined = length == UNDEFINED
        stop = end if undefined else at + length
        if stop > end:
            raise _cut(at)
        items: list[list[Element]] = []
        while at < stop:
            if at + 8 > stop:
                raise _cut(at)
            group, number, size = self._tag_length(self.data, at)
            tag = group << 16 | number
            if tag == SEQUENCE_END and undefined:
                return items, at + 8
            if tag != ITEM:
                raise Odd(f"({group:04x},{number:04x}) stands where an item should")
            at += 8
            if size != UNDEFINED and at + size > stop:
                raise _cut(at)
            item_end = stop if size == UNDEFINED else at + size
            item, at = self._dataset(at, item_end, implicit, size == UNDEFINED, depth)
            items.append(item)
        if undefined:
            raise _cut(at)
        return items, at

    def _fragments(self, at: int, end: int) -> int:
        while at + 8 <= end:
            group, number, size = self._tag_length(self.data, at)
            tag = group << 16 | number
            at += 8
            if tag == SEQUENCE_END:
                return at
            if tag != ITEM or size == UNDEFINED:
                raise DataError("the encapsulated pixels are damaged", "fetch the file again from its source")
            at += size
        raise _cut(at)


def _implicit_vr(tag: int) -> str:
    from pydicom.datadict import DicomDictionary

    if tag >> 16 & 1:
        return "UN"
    entry = DicomDictionary.get(tag)
    return "UN" if entry is None else str(entry[0]).split(" or ")[-1 if tag == PIXELS else 0]


def _cut(at: int) -> DataError:
    return DataError(
        f"a length at byte {at} reaches past the end of what holds it", "the file is cut or damaged; fetch it again"
    )
