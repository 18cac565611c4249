"""Header: what one DICOM object says of itself, read without its pixels; an object that holds no image is refused."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any

from bedside.cohort.digest import sha256_hex
from bedside.errors import DataError
from bedside.intake.dicom.quiet import needed, quiet
from bedside.intake.dicom.source import is_dicomdir

MOST_VALUES = 1 << 31  # rows × columns × frames × samples of one object
_PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}
_ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(?:4|5)\b.*")
# SOP classes (PS3.4 B.5) whose pixels are no picture of the patient as it was taken.
_OTHER = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose grid",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole slide",
}
_WAY_OUT = "give image objects; masks, doses, slides and documents are not read as images"


@dataclass(frozen=True)
class Header:
    """One image object. `positions` (n, 3) and `orientations` (n, 6) are of its frames in mm, empty where not said;
    `spacing` is (between rows, between columns) in mm, or None."""

    digest: str
    name: str
    study: str
    series: str
    instance: str
    patient: str
    modality: str
    rows: int
    columns: int
    frames: int
    samples: int
    syntax: str
    number: int
    spacing: tuple[float, float] | None
    positions: tuple[tuple[float, ...], ...]
    orientations: tuple[tuple[float, ...], ...]
    tilt: float | None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def compressed(self) -> bool:
        """Whether its frames are encapsulated."""
        return _ENCAPSULATED.fullmatch(self.syntax) is not None


def read_header(data: bytes, name: str) -> Header:
    """The header of an image object's bytes; raises DataError, saying what it is, for any other."""
    needed()
    import pydicom

    if is_dicomdir(data):
        raise DataError("a DICOMDIR is an index, no image", "give it as the source itself, or leave it out")
    try:
        with quiet():
            dataset = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != b"DICM", defer_size=1 << 16)
            return _header(dataset, data, name)
    except DataError:
        raise
    except Exception as error:  # whatever pydicom raises for hostile bytes; its message may hold values
        raise DataError(
            f"the header cannot be read: {type(error).__name__}", "fetch the file again from its source"
        ) from None


def _header(dataset: Any, data: bytes, name: str) -> Header:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if not sop_class:
        raise DataError("this is no DICOM object: it has no SOP Class UID", "give DICOM files only")
    kind = next((told for uid, told in _OTHER.items() if sop_class == uid or sop_class.startswith(f"{uid}.")), None)
    if kind is not None:
        raise DataError(f"it is {kind}", _WAY_OUT)
    if not _PIXELS & set(dataset.keys()):
        raise DataError("the object has no pixels", f"it is a {dataset.SOPClassUID.name}; {_WAY_OUT}")
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not dataset.get(keyword):
            raise DataError(f"it has no {keyword}", "fetch the file again from its source")
    rows, columns, samples = (int(dataset.get(each, 0) or 0) for each in ("Rows", "Columns", "SamplesPerPixel"))
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if min(rows, columns, frames, samples) < 1:
        raise DataError(f"an image of {rows} × {columns} × {frames} holds nothing", "fetch the file again")
    if rows * columns * frames * samples > MOST_VALUES:
        raise DataError(
            f"the image claims {rows} × {columns} pixels × {frames} frames", f"at most {MOST_VALUES:,} values are read"
        )
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
    spacing, positions, orientations = _geometry(dataset, frames)
    header = Header(
        sha256_hex(data),
        name,
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dataset.get("PatientID", "") or "").strip(),
        str(dataset.get("Modality", "") or ""),
        rows,
        columns,
        frames,
        samples,
        syntax,
        int(dataset.get("InstanceNumber", 0) or 0),
        spacing,
        positions,
        orientations,
        _number(dataset.get("GantryDetectorTilt")),
        _told(dataset),
    )
    _check_length(dataset, header)
    return header


def _check_length(dataset: Any, header: Header) -> None:
    """Uncompressed pixels must be as many as the header says (PS3.5 section 8.1.1)."""
    if header.compressed or "PixelData" not in dataset:
        return
    bits = int(dataset.get("BitsAllocated", 0) or 0)
    halved = str(dataset.get("PhotometricInterpretation", "")) == "YBR_FULL_422"
    values = header.rows * header.columns * header.frames * (2 if halved else header.samples)
    needed, there = (values * bits + 7) // 8, len(dataset.PixelData)
    if there < needed:
        raise DataError(
            f"the pixels are cut: {there:,} of {needed:,} bytes are there", "fetch the file again from its source"
        )


def _geometry(dataset: Any, frames: int) -> tuple[Any, Any, Any]:
    """Spacing, positions and orientations of the frames, from the object or its functional groups (PS3.3 C.7.6.16)."""
    shared = _first_item(dataset.get("SharedFunctionalGroupsSequence"))
    each = dataset.get("PerFrameFunctionalGroupsSequence")
    if shared is None and not each:
        spacing = _floats(dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing"), 2)
        position, orientation = (
            _floats(dataset.get("ImagePositionPatient"), 3),
            _floats(dataset.get("ImageOrientationPatient"), 6),
        )
        whole = frames == 1 and position is not None and orientation is not None
        return spacing, ((position,) if whole else ()), ((orientation,) if whole else ())
    found = [[_of_frame(group, shared, *where) for where in _FRAME] for group in (each or [])]
    if len(found) != frames or any(value is None for values in found for value in values[1:]):
        return (found[0][0] if found else None), (), ()
    return found[0][0], tuple(values[1] for values in found), tuple(values[2] for values in found)


_FRAME = (
    ("PixelMeasuresSequence", "PixelSpacing", 2),
    ("PlanePositionSequence", "ImagePositionPatient", 3),
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
)


def _of_frame(group: Any, shared: Any, sequence: str, keyword: str, size: int) -> tuple[float, ...] | None:
    for place in (group, shared):
        item = None if place is None else _first_item(place.get(sequence))
        if item is not None and (value := _floats(item.get(keyword), size)) is not None:
            return value
    return None


def _first_item(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _floats(value: Any, size: int) -> tuple[float, ...] | None:
    """Finite numbers, or None where there are not as many."""
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != size:
        return None
    numbers = tuple(float(each) for each in value)
    return numbers if all(abs(each) < 1e9 for each in numbers) else None


def _number(value: Any) -> float | None:
    found = _floats([value] if value not in (None, "") and not isinstance(value, list) else None, 1)
    return None if found is None else found[0]


def _told(dataset: Any) -> dict[str, Any]:
    """What a series is known and chosen by."""
    age = re.fullmatch(r"(\d{1,3})Y", str(dataset.get("PatientAge", "") or "").strip())
    sex = str(dataset.get("PatientSex", "") or "").strip()
    date = str(dataset.get("StudyDate", "") or "").strip()
    kernel = dataset.get("ConvolutionKernel", "") or ""
    return {
        "sex": sex if sex in ("F", "M", "O") else None,
        "age": None if age is None else float(age[1]),
        "study_date": date if re.fullmatch(r"\d{8}", date) else None,
        "manufacturer": _text(dataset.get("Manufacturer")),
        "scanner": _text(dataset.get("ManufacturerModelName")),
        "body_part": _text(dataset.get("BodyPartExamined")),
        "kernel": _text(kernel if isinstance(kernel, str) else "\\".join(map(str, kernel))),
        "thickness": _number(dataset.get("SliceThickness")),
        "description": _text(dataset.get("SeriesDescription")),
        "image_type": "\\".join(map(str, dataset.get("ImageType", "") or ())),
        "photometric": _text(dataset.get("PhotometricInterpretation")),
    }


def _text(value: Any) -> str | None:
    text = str(value or "").strip()
    return text or None
