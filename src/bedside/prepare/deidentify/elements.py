"""Elements: the raw data elements of a DICOM data set (PS3.5 section 7) by position, with no value decoded.

A walker that trusts nothing: each length must lie inside what holds it, each VR must be one of the standard's, tags
must rise. What is odd raises `Odd`, and the slow path (`odd`) may read it; what cannot be raises DataError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bedside.errors import DataError

VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_KNOWN = {code: (code.decode(), code in LONG) for code in VRS}
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
    """Walks the data set in a buffer; under implicit syntax the standard's dictionary tells the VR.

    Without `private`, elements of odd groups are checked and counted in `skipped`, not given.
    """

    data: Buffer
    encoding: Encoding
    private: bool = True
    skipped: int = 0

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
        # Names close at hand: this loop runs for every element of every file.
        data, head, long, new, keep = self.data, self._head, self._long, tuple.__new__, out.append
        skipping, skipped, last = not self.private, 0, -1
        while at < end:
            if at + 8 > end:
                raise _cut(at)
            group, number, vr, length = head(data, at)
            tag = group << 16 | number
            if tag == ITEM_END and delimited:
                self._count(len(out), skipped)
                return out, at + 8
            if tag <= last:
                raise Odd(f"the tag ({group:04x},{number:04x}) does not rise")
            if group == 0xFFFE:
                raise Odd("an item stands where an element should")
            last = tag
            start = at
            at += 8
            if implicit:
                (length,) = long(data, start + 4)
                name = _implicit_vr(tag)
            else:
                known = _KNOWN.get(vr)
                if known is None:
                    raise Odd(f"({group:04x},{number:04x}) has no VR of the standard")
                name, is_long = known
                if is_long:
                    if start + 12 > end:
                        raise _cut(start)
                    (length,) = long(data, start + 8)
                    at += 4
            if name == "SQ" or (length == UNDEFINED and not (tag == PIXELS and name in ("OB", "OW"))):
                items, stop = self._items(at, end, length, implicit or name == "UN", depth + 1)
                keep(new(Element, (tag, name, start, at, stop, items)))
                at = stop
            elif length == UNDEFINED:
                stop = self._fragments(at, end)
                keep(new(Element, (tag, name, start, at, stop, None)))
                at = stop
            else:
                stop = at + length
                if stop > end:
                    raise _cut(start)
                if group & 1 and skipping:
                    skipped += 1
                    at = stop
                    continue
                keep(new(Element, (tag, name, start, at, stop, None)))
                at = stop
        self._count(len(out), skipped)
        if delimited:
            raise _cut(at)
        return out, at

    def _count(self, kept: int, skipped: int) -> None:
        self.skipped += skipped
        self._left -= kept
        if self._left < 0:
            raise DataError(f"more than {MOST_ELEMENTS:,} elements", "no real object has them")

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


@lru_cache(maxsize=1 << 16)
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
