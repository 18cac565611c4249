"""What a caller sends, as raw rows: JSON rows, a table, or an image; with the subjects it names, kept apart."""

from __future__ import annotations

import base64
import io
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.cohort.atomic import make_folder
from bedside.cohort.cohort import Cohort
from bedside.errors import BedsideError, DataError
from bedside.intake.pixels import PILLOW, media_of
from bedside.plan.release.answer import read_like, rows_of
from bedside.serve.config import Limits
from bedside.serve.served import Served

SUFFIXES = {
    "text/csv": ".csv",
    "text/plain": ".csv",
    "application/vnd.ms-excel": ".csv",  # what browsers on Windows say of a CSV
    "text/tab-separated-values": ".tsv",
    "application/vnd.apache.parquet": ".parquet",
}
PACKED = (b"PK\x03\x04", b"\x1f\x8b")  # a few bytes that may unfold into any number


@dataclass(frozen=True)
class Asked:
    """Raw rows, and the subject of each (None where the caller names none)."""

    raw: Cohort
    subjects: Sequence[str | None]


def from_rows(served: Served, rows: Sequence[Mapping[str, Any]], limits: Limits) -> Asked:
    """JSON rows; `subject` beside the fields says who it is. Raises DataError for rows that do not fit."""
    if len(rows) > limits.rows:
        raise DataError(f"{len(rows)} rows are more than are answered at once ({limits.rows})", "send fewer, or a job")
    subjects, values = [], []
    for row in rows:
        subject = row.get("subject")
        if subject is not None and not isinstance(subject, str):
            raise DataError("a subject is text", 'send {"subject": "…"}')
        subjects.append(subject)
        values.append({name: value for name, value in row.items() if name != "subject"})
        field = served.image_field
        if field is not None and isinstance(row.get(field), str):
            refuse_large(_unpacked(row[field], field), limits)
    return Asked(rows_of(served.opened, values), subjects)


def from_file(
    served: Served, data: bytes, media: str, limits: Limits, scratch: Path, subject: str | None = None
) -> Asked:
    """A table like the plan's, or one image for a release that takes one.

    `media` is the Content-Type; an image is known by its first bytes. `scratch` is a folder of ours: no name that the
    caller gives becomes a path. Raises DataError for what is neither.
    """
    field = served.image_field
    if field is not None and media not in SUFFIXES:
        refuse_large(data, limits)
        others = {item.name: None for item in served.opened.schema.inputs if item.name != field}
        row = {**others, field: base64.b64encode(data).decode()}
        return Asked(rows_of(served.opened, [row]), [subject])
    suffix = SUFFIXES.get(media)
    if suffix is None or data.startswith(PACKED):
        raise DataError("a file of that type is not taken here", "send text/csv, or JSON as in example.json")
    make_folder(scratch)
    path = scratch / f"{secrets.token_hex(16)}{suffix}"
    try:
        path.write_bytes(data)
        cohort = read_like(served.opened, path, with_target=False)
    except BedsideError as error:
        raise DataError(error.what.replace(str(path), "the table"), error.way_out) from None
    finally:
        path.unlink(missing_ok=True)
    if len(cohort) > limits.rows:
        raise DataError(f"{len(cohort)} rows are more than are answered at once ({limits.rows})", "send fewer")
    declared = cohort.schema.identity == "declared"
    return Asked(cohort, cohort["subject"].to_list() if declared else [subject] * len(cohort))


def refuse_large(data: bytes, limits: Limits) -> None:
    """Raise DataError for an image whose header says that it has more pixels than are taken; nothing is decoded."""
    media = media_of(data)
    width = height = 0
    if media in PILLOW:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=(PILLOW[media],)) as image:
                width, height = image.size
        except Image.DecompressionBombError:
            width = height = limits.pixels
        except Exception:  # damaged: the decoder says so in its own words
            return
    elif media == "application/dicom":
        import pydicom

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what pydicom doubts, the decoder judges
                header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
            width, height = int(header.Columns), int(header.Rows)
        except Exception:  # damaged: the decoder says so in its own words
            return
    if width * height > limits.pixels:
        raise DataError(f"the image has more than {limits.pixels:,} pixels", "scale it down")


def _unpacked(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise DataError(f"field '{field}' holds no base64", "send the image file's bytes in base64") from None
