"""Document: one DICOM file's bytes in, the parts of a de-identified file out (PS3.10: preamble, file meta, data set).

The fast path walks the raw elements. A file that is not what its transfer syntax says goes the slow way: pydicom reads
it, it is written again as it should have been, and the same walk follows.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass

from bedside.errors import DataError
from bedside.intake.dicom.quiet import quiet
from bedside.prepare.deidentify.apply import STUDY_UID, Applied, Applier
from bedside.prepare.deidentify.elements import LONG, Buffer, Encoding, Odd, Walker

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
IMPLEMENTATION = b"2.25.221798045212409367265104613741036402497"
DICOMDIR = "1.2.840.10008.1.3.10"
MOST_INFLATED = 1 << 30
_WHOLE = "fetch the file again from its source"
_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2(?:\.[0-9]+)*")


@dataclass(frozen=True)
class Deidentified:
    """A new file by its parts, its (mapped) UIDs, its patient's pseudonym, and what was done."""

    parts: list[Buffer]
    study: str
    series: str
    instance: str
    pseudonym: str
    done: Counter[str]
    slow: bool
    modality: str
    burned_in: str

    def to_bytes(self) -> bytes:
        """The whole file."""
        return b"".join(self.parts)


def deidentify(data: Buffer, applier: Applier) -> Deidentified:
    """The de-identified form of a file's bytes. Raises DataError, saying why, for a file that cannot be read wholly."""
    view = memoryview(data)
    slow = False
    try:
        syntax, body = _opened(view)
        encoding = Encoding(syntax == IMPLICIT, syntax == BIG)
        walker = Walker(body, encoding, applier.keeps_private)
        elements = walker.walk()
        made = applier.apply(body, elements, encoding, strict=True)
    except Odd:
        slow = True
        body, encoding, syntax = _normalised(view)
        try:
            walker = Walker(body, encoding, applier.keeps_private)
            elements = walker.walk()
            made = applier.apply(body, elements, encoding, strict=False)
        except Odd as odd:
            raise DataError(f"this is no DICOM data set that can be read: {odd}", _WHOLE) from None
    made.done["private"] += walker.skipped
    plain = {
        each.tag: bytes(body[each.value : each.end]).strip(b"\0 ").decode("latin-1")
        for each in elements
        if each.tag in (0x00080060, 0x00280301, 0x00041220)
    }
    return _document(made, encoding, syntax, slow, plain)


def _document(made: Applied, encoding: Encoding, syntax: str, slow: bool, plain: dict[int, str]) -> Deidentified:
    sop_class, instance = made.uids.get(0x00080016, ""), made.uids.get(0x00080018, "")
    if 0x00041220 in plain or sop_class == DICOMDIR:
        raise DataError("a DICOMDIR names the old files", "de-identify the files; index the new ones")
    if not sop_class or not instance:
        raise DataError("the object has no SOP Class UID or no SOP Instance UID", "it is no DICOM composite object")
    head = bytes(128) + b"DICM" + _meta(sop_class, instance, syntax)
    return Deidentified(
        [head, *made.parts],
        made.uids.get(STUDY_UID, ""),
        made.uids.get(0x0020000E, ""),
        instance,
        made.subject.pseudonym,
        made.done,
        slow,
        plain.get(0x00080060, ""),
        plain.get(0x00280301, ""),
    )


def _meta(sop_class: str, instance: str, syntax: str) -> bytes:
    """The File Meta Information, made anew: of the old one nothing but the transfer syntax survives."""
    out = b""
    for number, vr, value in (
        (0x0001, b"OB", b"\0\1"),
        (0x0002, b"UI", sop_class.encode("latin-1")),
        (0x0003, b"UI", instance.encode("latin-1")),
        (0x0010, b"UI", syntax.encode("ascii")),
        (0x0012, b"UI", IMPLEMENTATION),
        (0x0013, b"SH", b"BEDSIDE"),
    ):
        if len(value) & 1:
            value += b" " if vr == b"SH" else b"\0"
        pack = struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) if vr in LONG else b""
        out += (pack or struct.pack("<HH2sH", 2, number, vr, len(value))) + value
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(out)) + out


def _opened(view: memoryview) -> tuple[str, memoryview]:
    """The transfer syntax and the data set, inflated where it is deflated."""
    if bytes(view[128:132]) != b"DICM":
        raise Odd("no DICM prefix")
    at, syntax = 132, ""
    while at + 8 <= len(view):
        group, number, vr, length = struct.unpack_from("<HH2sH", view, at)
        if group != 2:
            break
        start = at + 8
        if vr in LONG:
            if at + 12 > len(view):
                raise Odd("the file meta is cut")
            (length,) = struct.unpack_from("<I", view, at + 8)
            start = at + 12
        if start + length > len(view):
            raise Odd("the file meta is cut")
        if number == 0x0010:
            syntax = bytes(view[start : start + length]).rstrip(b"\0 ").decode("latin-1")
        at = start + length
    if not _SYNTAX.fullmatch(syntax):
        raise Odd("no transfer syntax of the standard")
    body = view[at:]
    if syntax == DEFLATED:
        return EXPLICIT, memoryview(inflated(body))
    return syntax, body


def inflated(body: Buffer, most: int = MOST_INFLATED) -> bytes:
    """A deflated data set, unpacked; raises DataError for one that is damaged or unpacks to more than `most` bytes."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = machine.decompress(body, min(most, len(body) * 1100 + 1024))
    except zlib.error as error:
        raise DataError(f"the deflated data set is damaged: {error}", _WHOLE) from None
    if not machine.eof:
        whole = "is cut" if not machine.unconsumed_tail else f"unpacks to more than {most:,} bytes"
        raise DataError(f"the deflated data set {whole}", _WHOLE)
    return data


def _normalised(view: memoryview) -> tuple[memoryview, Encoding, str]:
    """The data set as pydicom understands it, written as its transfer syntax says."""
    import pydicom
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    try:
        if bytes(view[128:132]) == b"DICM" and DEFLATED.encode() in bytes(view[132:1024]):
            view = memoryview(_reinflated(view))
        with quiet():
            dataset = pydicom.dcmread(io.BytesIO(view), force=True)
            implicit, little = dataset.original_encoding
            if implicit is None or little is None or "SOPClassUID" not in dataset:
                raise DataError("this is no DICOM object", "give DICOM files only")
            _decoded(dataset, 0)
            out = DicomBytesIO()
            out.is_little_endian, out.is_implicit_VR = little, False
            write_dataset(out, dataset)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
    except DataError:
        raise
    except Exception as error:  # whatever pydicom raises for hostile bytes; its message may hold values
        raise DataError(f"this is no DICOM data set that can be read: {type(error).__name__}", _WHOLE) from None
    if not little:
        syntax = BIG
    elif not syntax or syntax in (IMPLICIT, BIG, DEFLATED):
        syntax = EXPLICIT
    elif not _SYNTAX.fullmatch(syntax):
        raise DataError("the transfer syntax is none of the standard", _WHOLE)
    return memoryview(out.getvalue()), Encoding(False, not little), syntax


def _reinflated(view: memoryview) -> bytes:
    syntax, body = _opened(view)
    head = bytes(128) + b"DICM" + _meta("", "", syntax)
    return head + bytes(body)


def _decoded(dataset: object, depth: int) -> None:
    """Decode every raw element, so that it is written with its VR; what cannot be decoded is left out."""
    from pydicom.dataset import Dataset

    if not isinstance(dataset, Dataset) or depth > 32:
        raise DataError("sequences are nested deeper than 32", "no real object is; ask who made the file")
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            del dataset[tag]
            continue
        if element.tag.element == 0 and element.tag.group != 2:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _decoded(item, depth + 1)
