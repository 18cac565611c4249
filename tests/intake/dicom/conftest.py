"""Series made for the tests, with known geometry."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from bedside.intake.dicom.quiet import quiet

Make = Callable[..., bytes]


@pytest.fixture
def make_slice() -> Make:
    """A 5 × 7 CT slice's bytes; `z` in mm along the normal of an oblique plane, other attributes by keyword."""
    return one_slice


def directions(degrees: float = 20.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and normal of a plane turned about x."""
    a = np.radians(degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(a), np.sin(a)])
    return row, column, np.cross(row, column)


def one_slice(z: float = 0.0, number: int = 1, **values: Any) -> bytes:
    row, column, normal = directions()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.4.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientID, dataset.Modality, dataset.InstanceNumber = "P1", "CT", number
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 5, 7, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"
    dataset.PixelSpacing = [0.5, 0.25]  # between rows, between columns
    dataset.ImageOrientationPatient = [float(f"{each:.9f}") for each in (*row, *column)]
    dataset.ImagePositionPatient = [float(f"{each:.6f}") for each in np.array([10.0, -20.0, 30.0]) + normal * z]
    pixels = np.arange(35, dtype="<i2") + 100 * number
    dataset.PixelData = pixels.tobytes()
    stream = io.BytesIO()
    with quiet():
        for name, value in values.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder of six slices 2.5 mm apart, their files in another order than their places."""
    folder = tmp_path / "series"
    folder.mkdir()
    for i, z in enumerate((5.0, 0.0, 12.5, 2.5, 10.0, 7.5)):
        (folder / f"{i}.dcm").write_bytes(one_slice(z, i + 1))
    return folder
