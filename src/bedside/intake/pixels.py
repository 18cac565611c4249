"""Pixels: the bytes of one image file (PNG, JPEG, TIFF, BMP, single-frame DICOM, NumPy) as an array, or a clear error.

Whole-number pixels are scaled to 0..1 of their type's range; floating-point pixels and DICOM values (after their
modality rescale) keep their own unit, and the ops that a reader must put into the manifest bring them to 0..1.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.digest import sha256_hex
from bedside.cohort.manifest import Manifest
from bedside.errors import BedsideError, DataError, MissingExtra

MOST_PIXELS = 100_000_000
DICOM, NPY = "application/dicom", "application/x-npy"
PILLOW = {"image/png": "PNG", "image/jpeg": "JPEG", "image/tiff": "TIFF", "image/bmp": "BMP"}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"\x93NUMPY", NPY),
)
_ANOTHER = "convert it to PNG, JPEG, TIFF or single-frame DICOM"
_WHOLE = "check that the file was copied wholly and opens elsewhere"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pixels:
    """A decoded file: array float32 (h, w, c), its mode, what brings it to 0..1, and the largest whole number."""

    array: Floats
    mode: str
    ops: tuple[Mapping[str, Any], ...] = ()
    unscaled: bool = False
    top: float = 1.0


def media_of(data: bytes) -> str:
    """The media type told by the first bytes; raises DataError for anything that is no image known here."""
    if not data:
        raise DataError("the file is empty", _WHOLE)
    if data[128:132] == b"DICM":
        return DICOM
    for magic, media in _MAGIC:
        if data.startswith(magic):
            return media
    raise DataError("this is no image that can be read", _ANOTHER)


def decode(data: bytes, media: str) -> Floats:
    """The array of a file, float32 of shape (h, w, c); raises DataError for bytes that are no such image."""
    return pixels(data, media).array


def pixels(data: bytes, media: str) -> Pixels:
    """The decoded file; raises DataError for hostile, truncated, multi-frame or too large files, never anything else
    but MissingExtra when the library is not installed."""
    with _explained():
        if media in PILLOW:
            return _pillow(data, PILLOW[media])
        if media == DICOM:
            return _dicom(data)
        if media == NPY:
            return _numpy(data)
    raise DataError(f"the media type {media!r} is not known", _ANOTHER)


def describe(data: bytes, window: Sequence[float] | None = None) -> tuple[Manifest, str]:
    """The manifest of one image file's bytes, and its mode.

    `window` (low, high) are stored values that become 0 and 1. Raises DataError for floating-point pixels without it.
    """
    media = media_of(data)
    if media == DICOM:
        _probe(data)
    found = pixels(data, media)
    ops, channels = list(found.ops), found.array.shape[2]
    if window is not None:
        ops = [op for op in ops if op["op"] != "window"]
        ops.insert(0, {"op": "window", "low": float(window[0]) / found.top, "high": float(window[1]) / found.top})
    elif found.unscaled:
        raise DataError(
            f"pixels of mode {found.mode} have no range of their own", "say `window: [low, high]` in their unit"
        )
    if channels == 3 and bool((found.array == found.array[:, :, :1]).all()):
        ops.append({"op": "grey"})
        channels = 1
    shape = (*found.array.shape[:2], channels)
    return Manifest("image", (sha256_hex(data),), media, shape, tuple(ops)), found.mode


@contextmanager
def _explained() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's warnings are about what is judged here
            yield
    except BedsideError:
        raise
    except Exception as error:  # whatever a decoder raises for hostile bytes
        raise DataError(f"the image is damaged: {type(error).__name__}: {_first_line(error)}", _WHOLE) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:120] if lines else ""


def _refuse_large(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise DataError(f"an image of {width} × {height} pixels holds nothing", _WHOLE)
    if width * height > MOST_PIXELS:
        raise DataError(
            f"the image has {width} × {height} pixels; at most {MOST_PIXELS:,} are read", "cut it or scale it down"
        )


def _pillow(data: bytes, kind: str) -> Pixels:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise MissingExtra("imaging", "an image file") from None
    try:
        opened = Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError:
        raise DataError(f"the image has more than {MOST_PIXELS:,} pixels", "cut it or scale it down") from None
    except UnidentifiedImageError:
        raise DataError(f"the image is damaged: it begins like {kind} and goes on otherwise", _WHOLE) from None
    with opened as image:
        _refuse_large(*image.size)
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"the file holds {image.n_frames} images", "give one file an image")
        image.load()
        mode = image.mode
        return _of_mode(ImageOps.exif_transpose(image), mode)


def _of_mode(image: Any, mode: str) -> Pixels:
    if mode.startswith("I;16"):
        return Pixels(_three(np.asarray(image).astype(np.float32) / 65535), mode, top=65535.0)
    if mode in ("I", "F"):
        array = np.asarray(image).astype(np.float32)
        if not np.isfinite(array).all():
            raise DataError("the image holds pixels that are not finite", "replace them")
        return Pixels(_three(array), mode, unscaled=True)
    plain = image.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")
    return Pixels(_three(np.asarray(plain).astype(np.float32) / 255), mode, top=255.0)


def _numpy(data: bytes) -> Pixels:
    stream = io.BytesIO(data)
    major, _ = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DataError(f"an array of {dtype} and shape {shape} is no image", "give (h, w), (h, w, 1) or (h, w, 3)")
    _refuse_large(shape[1], shape[0])
    if int(np.prod(shape)) * dtype.itemsize != len(data) - stream.tell():
        raise DataError("the array is truncated", _WHOLE)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    mode = f"npy {dtype.name}"
    if dtype == np.bool_:
        return Pixels(_three(array.astype(np.float32)), mode)
    if dtype in (np.uint8, np.uint16):
        top = float(np.iinfo(dtype).max)
        return Pixels(_three(array.astype(np.float32) / np.float32(top)), mode, top=top)
    if not np.isfinite(array).all():
        raise DataError("the image holds pixels that are not finite", "replace them")
    return Pixels(_three(array.astype(np.float32)), mode, unscaled=True)


def _dicom(data: bytes) -> Pixels:
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, pixel_array
    except ImportError:
        raise MissingExtra("imaging", "a DICOM file") from None
    dataset = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in dataset:
        raise DataError("the DICOM object has no pixels", f"it is a {_kind_of(dataset)}; give image objects only")
    _refuse_large(int(dataset.Columns), int(dataset.Rows))
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        raise DataError(f"the DICOM object has {dataset.NumberOfFrames} frames", "give single-frame objects")
    photometric = str(dataset.PhotometricInterpretation)
    stored = pixel_array(dataset)
    if int(dataset.SamplesPerPixel) == 3:
        top = float(2 ** int(dataset.BitsStored) - 1)
        return Pixels(_three(stored.astype(np.float32) / np.float32(top)), f"DICOM {photometric}", top=top)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"the photometric interpretation {photometric} cannot be read", _ANOTHER)
    array = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    low, high = _dicom_window(dataset, stored, array)
    ops: list[Mapping[str, Any]] = [{"op": "window", "low": low, "high": high}]
    if photometric == "MONOCHROME1":
        ops.append({"op": "invert"})
    return Pixels(_three(array), f"DICOM {photometric}", tuple(ops))


def _probe(data: bytes) -> None:
    """Refuse compressed pixels that cannot be decoded in a process of its own: decoders may crash on hostile ones."""
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("imaging", "a DICOM file") from None
    with _explained():
        meta = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=[]).file_meta
        compressed = "TransferSyntaxUID" in meta and meta.TransferSyntaxUID.is_compressed
    if compressed:
        from bedside.intake.dicom.probe import shared

        shared().check(data)


def _kind_of(dataset: Any) -> str:
    return str(getattr(getattr(dataset, "SOPClassUID", None), "name", "object of no class"))


def _dicom_window(dataset: Any, stored: NDArray[Any], array: Floats) -> tuple[float, float]:
    """What becomes 0 and 1: the first window (PS3.3 C.11.2.1.2), else the range of the pixels that are no padding."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        if str(dataset.get("VOILUTFunction", "LINEAR")) == "LINEAR" and width > 1:
            return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
        return centre - width / 2, centre + width / 2
    inside = array
    if dataset.get("PixelPaddingValue") is not None:
        inside = array[stored != int(dataset.PixelPaddingValue)]
    if inside.size == 0:
        raise DataError("the DICOM object holds padding only", "leave it out")
    low, high = float(inside.min()), float(inside.max())
    return low, high if high > low else low + 1.0


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _three(array: Floats) -> Floats:
    """(h, w) as (h, w, 1)."""
    return np.ascontiguousarray(array[:, :, None] if array.ndim == 2 else array, dtype=np.float32)
