"""Volume: the array of a series' manifest: its slices decoded, rescaled and stacked in the order of its geometry."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.files import Files
from bedside.cohort.manifest import Manifest
from bedside.errors import BedsideError, DataError
from bedside.intake.dicom.quiet import quiet
from bedside.intake.memory import refuse_too_large


def decode_volume(manifest: Manifest, files: Files) -> NDArray[np.float32]:
    """float32 (slices, rows, columns) in the unit of the modality's rescale (HU for CT), whatever ops follow.

    Raises DataError for pixels that cannot be decoded, and before decoding when the memory would not suffice.
    """
    if manifest.kind != "volume" or manifest.geometry is None:
        raise DataError(f"a {manifest.kind} is not a volume of a DICOM series")
    slices, rows, columns = manifest.shape
    refuse_too_large("the volume", 8 * slices * rows * columns, advice="read it on a larger machine")
    out = np.empty((slices, rows, columns), dtype=np.float32)
    frames = manifest.geometry.get("frames")
    if frames is not None:
        array = slices_of(files.get(manifest.items[0]))
        if len(array) <= max(frames):
            raise DataError(f"the object has {len(array)} frames, its manifest names frame {max(frames)}")
        out[:] = _shaped(array[list(frames)], (slices, rows, columns))
        return out
    for position, digest in enumerate(manifest.items):
        out[position] = _shaped(slices_of(files.get(digest)), (1, rows, columns))[0]
    return out


def slices_of(data: bytes) -> NDArray[np.float32]:
    """The frames of one grey object after the modality's rescale, float32 (frames, rows, columns)."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, pixel_array

    try:
        with quiet():
            dataset = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != b"DICM")
            stored = pixel_array(dataset)
            values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
            values = values[None] if values.ndim == 2 else values
            return _rescaled_by_frame(dataset, values)
    except BedsideError:
        raise
    except Exception as error:  # whatever a decoder raises for hostile bytes
        raise DataError(
            f"the pixels cannot be decoded: {type(error).__name__}", "check that the file was copied wholly"
        ) from None


def decoded(data: bytes) -> NDArray[Any]:
    """The stored values of an object's pixels, in whatever shape pydicom gives; raises DataError as `slices_of`."""
    import pydicom
    from pydicom.pixels import pixel_array

    try:
        with quiet():
            return np.asarray(pixel_array(pydicom.dcmread(io.BytesIO(data), force=data[128:132] != b"DICM")))
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder raises for hostile bytes
        raise DataError(
            f"the pixels cannot be decoded: {type(error).__name__}", "check that the file was copied wholly"
        ) from None


def _rescaled_by_frame(dataset: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rescale of each frame where enhanced objects say one (PS3.3 C.7.6.16.2.9)."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    for frame in range(len(values)):
        own = groups[frame] if frame < len(groups) else None
        for place in (own, shared):
            found = None if place is None else (place.get("PixelValueTransformationSequence") or [None])[0]
            if found is not None:
                values[frame] = values[frame] * float(found.RescaleSlope) + float(found.RescaleIntercept)
                break
    return values


def _shaped(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if array.shape != shape:
        raise DataError(f"slices have shape {array.shape}, the manifest says {shape}", "read the data again")
    return array
