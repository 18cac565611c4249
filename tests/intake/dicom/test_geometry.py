"""The geometry of a stack: the affine that SimpleITK finds, and each fault refused or repaired by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.cohort.manifest import manifest
from bedside.errors import DataError
from bedside.intake.dicom import Dicom, decode_volume
from bedside.intake.dicom.geometry import Geometry, stack

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stacked(heights: Sequence[float], *, shear: float = 0.0, contents: Any = None, **more: Any) -> Geometry:
    positions = [(0.0, shear * z, z) for z in heights]
    orientations = more.pop("orientations", [AXIAL] * len(positions))
    spacing = more.pop("spacing", (0.7, 0.6))
    names = contents if contents is not None else [str(i) for i in range(len(positions))]
    return stack(positions, orientations, spacing, names, **more)


def test_affine_spacing_and_voxels_are_simpleitks(series: Path) -> None:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)))
    peer = reader.Execute()
    cohort = Dicom().read(series)
    (digest,) = cohort["volume"].to_list()
    found = manifest(cohort.files, digest)  # type: ignore[arg-type]
    assert found.geometry is not None
    affine = np.array(found.geometry["affine"])
    theirs = np.eye(4)
    theirs[:3, :3] = np.array(peer.GetDirection()).reshape(3, 3) * np.array(peer.GetSpacing())
    theirs[:3, 3] = peer.GetOrigin()
    np.testing.assert_allclose(affine, theirs, atol=1e-5)
    np.testing.assert_allclose(found.geometry["spacing"], peer.GetSpacing(), atol=1e-5)
    np.testing.assert_array_equal(decode_volume(found, cohort.files), SimpleITK.GetArrayFromImage(peer))  # type: ignore[arg-type]


def test_real_slices_agree_with_simpleitk(shared_data: Path) -> None:
    import SimpleITK

    folder = shared_data / "dicom" / "dcmqi" / "data" / "segmentations" / "ct-3slice"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    peer = reader.Execute()
    cohort = Dicom().read(folder)
    found = manifest(cohort.files, cohort["volume"][0])  # type: ignore[arg-type]
    assert found.geometry is not None
    np.testing.assert_allclose(found.geometry["spacing"], peer.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(np.array(found.geometry["affine"])[:3, 3], peer.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(decode_volume(found, cohort.files), SimpleITK.GetArrayFromImage(peer))  # type: ignore[arg-type]


def test_order_is_by_place() -> None:
    found = stacked([4, 0, 2, 6])
    assert found.order == (1, 2, 0, 3) and found.spacing == (0.6, 0.7, 2.0)
    assert found.affine[:3, 2].tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("heights", "more", "said"),
    [
        ([0, 2, 4, 8, 10], {}, "1 slices are missing"),
        ([0, 2, 4, 10, 12], {}, "2 slices are missing"),
        ([0, 2, 4, 5, 7], {}, "uneven"),
        ([0, 2, 2, 4], {}, "several phases"),
        ([0, 2, 4], {"shear": 0.3}, "gantry is tilted by 16.7°"),
        ([0, 2, 4], {"orientations": [AXIAL, AXIAL, (1, 0, 0, 0, 0, -1)]}, "2 orientations in one series, of 2, 1"),
        ([0, 2], {"orientations": [(1, 0, 0, 1, 0, 0)] * 2}, "no pair of perpendicular"),
        ([0, 2], {"spacing": None}, "pixel spacing"),
        ([3, 3], {"contents": ["a", "a"]}, "all slices lie at one place"),
    ],
)
def test_faults_are_refused_with_the_reason(heights: list[float], more: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        stacked(heights, **more)
    assert error.value.way_out


def test_faults_are_repaired_only_by_the_rule_that_was_given() -> None:
    copies = stacked([0, 2, 2, 4], contents=["a", "b", "b", "c"])
    assert copies.order == (0, 1, 3) and copies.repaired == ("1 exact copies left out",)
    first = stacked([0, 2, 2, 4], repair=["duplicates"])
    assert first.order == (0, 1, 3) and "already taken" in first.repaired[0]
    turned = stacked([0, 2, 4, 9], orientations=[AXIAL] * 3 + [(1, 0, 0, 0, 0, -1)], repair=["orientation"])
    assert turned.order == (0, 1, 2) and "1 slices of other orientations" in turned.repaired[0]
    tilted = stacked([0, 2, 4], shear=0.3, repair=["tilt"])
    np.testing.assert_allclose(tilted.affine[:3, 2], [0, 0.6, 2.0])
    assert "shear" in tilted.repaired[0]
