"""Geometry: where the slices of a stack lie, in order, and the affine from voxels to the patient (LPS, mm).

The affine is (4, 4): column 0 is the step to the next column of pixels, 1 to the next row, 2 to the next slice, 3 the
centre of the first voxel (PS3.3 C.7.6.2.1.1); slices go along row × column, as ITK orders them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bedside.errors import DataError

Floats = NDArray[np.float64]

SAME_DIRECTION = 1e-3  # difference of a direction cosine
SAME_PLACE = 1e-2  # mm between two slices at one place
UNEVEN = 0.02  # share of the step by which steps may differ
TILTED = 0.5  # degrees between the stack's direction and its slices' normal
REPAIRS = ("orientation", "duplicates", "tilt")


@dataclass(frozen=True)
class Geometry:
    """Positions of the slices in order (indices into those given), the affine, spacing (x, y, z) in mm, and repairs."""

    order: tuple[int, ...]
    affine: Floats
    spacing: tuple[float, float, float]
    repaired: tuple[str, ...] = ()


def stack(
    positions: Sequence[Sequence[float]],
    orientations: Sequence[Sequence[float]],
    spacing: tuple[float, float] | None,
    contents: Sequence[str],
    *,
    repair: Sequence[str] = (),
) -> Geometry:
    """The geometry of n ≥ 2 slices; `contents` are digests that tell copies.

    Exact copies at one place are dropped always. `repair` allows more: "orientation" keeps the slices of the commonest
    orientation, "duplicates" the first of several at one place, "tilt" a sheared affine. Raises DataError for mixed
    orientations, duplicate, missing or uneven slices, and a tilted gantry that no repair was allowed for.
    """
    if spacing is None or min(spacing) <= 0:
        raise DataError("the series does not say its pixel spacing", "give the images one by one")
    place, turned = np.asarray(positions, dtype=np.float64), np.asarray(orientations, dtype=np.float64)
    kept, repaired = _one_orientation(turned, repair)
    row, column = turned[kept[0], :3], turned[kept[0], 3:]
    if abs(float(row @ column)) > SAME_DIRECTION or min(np.linalg.norm(row), np.linalg.norm(column)) < 0.99:
        raise DataError("the orientation is no pair of perpendicular directions", "fetch the series again")
    normal = np.cross(row, column)
    along = place @ normal
    kept = kept[np.argsort(along[kept], kind="stable")]
    kept, more = _one_a_place(kept, along, contents, repair)
    repaired += more
    if len(kept) < 2:
        raise DataError("all slices lie at one place", "give the images one by one")
    steps = np.diff(along[kept])
    step = float(np.median(steps))
    _refuse_gaps(steps, step)
    ends = place[kept[-1]] - place[kept[0]]
    aslant = float(np.degrees(np.arccos(np.clip(ends @ normal / np.linalg.norm(ends), -1.0, 1.0))))
    third = normal * ((along[kept[-1]] - along[kept[0]]) / (len(kept) - 1))
    if aslant > TILTED:
        if "tilt" not in repair:
            raise DataError(
                f"the gantry is tilted by {aslant:.1f}°: slices lie aslant",
                "allow it with `repair: [tilt]` (sheared affine)",
            )
        third = ends / (len(kept) - 1)
        repaired = (*repaired, f"tilt of {aslant:.1f}° kept as shear")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2], affine[:3, 3] = third, place[kept[0]]
    size = (float(spacing[1]), float(spacing[0]), float(np.linalg.norm(third)))
    return Geometry(tuple(int(each) for each in kept), affine, size, repaired)


def _one_orientation(turned: Floats, repair: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    groups: list[list[int]] = []
    for i, each in enumerate(turned):
        mine = next((group for group in groups if np.abs(turned[group[0]] - each).max() <= SAME_DIRECTION), None)
        if mine is None:
            groups.append([i])
        else:
            mine.append(i)
    largest = max(groups, key=len)
    if len(groups) > 1:
        told = (
            f"{len(groups)} orientations in one series, of {', '.join(str(len(group)) for group in groups[:5])} slices"
        )
        if "orientation" not in repair:
            raise DataError(told, "is there a localiser in it? keep the commonest with `repair: [orientation]`")
        return np.array(largest, dtype=np.int64), (
            f"{len(turned) - len(largest)} slices of other orientations left out",
        )
    return np.array(largest, dtype=np.int64), ()


def _one_a_place(
    kept: NDArray[np.int64], along: Floats, contents: Sequence[str], repair: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    out = [int(kept[0])]
    copies = others = 0
    for i in kept[1:]:
        if along[i] - along[out[-1]] > SAME_PLACE:
            out.append(int(i))
        elif contents[i] == contents[out[-1]]:
            copies += 1
        else:
            others += 1
    if others and "duplicates" not in repair:
        raise DataError(
            f"{others} slices lie where another one does: several phases, echoes or times in one series",
            "split the series, or keep the first of each with `repair: [duplicates]`",
        )
    told = (f"{copies} exact copies left out",) if copies else ()
    return np.array(out, dtype=np.int64), (
        *told,
        *((f"{others} slices at a place already taken left out",) if others else ()),
    )


def _refuse_gaps(steps: Floats, step: float) -> None:
    off = np.abs(steps - step) > UNEVEN * step + SAME_PLACE
    if not off.any():
        return
    multiples = steps[off] / step
    if (np.abs(multiples - np.round(multiples)) < 0.05).all() and (multiples > 1.5).all():
        missing = int(np.round(multiples).sum()) - len(multiples)
        raise DataError(
            f"{missing} slices are missing: steps of {step:.2f} mm and of up to {steps.max():.2f} mm",
            "fetch the series whole",
        )
    raise DataError(
        f"slices are uneven: steps from {steps.min():.2f} to {steps.max():.2f} mm", "resample it with a tool that may"
    )
