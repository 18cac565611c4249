"""Masks beside images: which pixels a person (or a simulator) marked, as further fields of kind "mask".

A mask field holds a manifest's digest as the image's field does, or nothing where the image has no mask; it has no
role, so no model sees it. A pixel is marked where the mask is above 0 in any channel, whatever its value (1, 255, …).
A check reads it with `prepare.arrays.Masks(cohort, field)`; the fields are `file_fields(cohort, "mask")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from bedside.cohort.manifest import Manifest
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.intake.image_files import inside, listing
from bedside.intake.pixels import describe

ONE = "mask"  # the field's name when only one is asked for


def sources_of(mask: Any) -> dict[str, str]:
    """Field → column or folder, from the reader's `mask`: one name, or {field: name}; raises DataError for another."""
    if mask is None:
        return {}
    held = mask if isinstance(mask, Mapping) else {ONE: mask}
    if not held or not all(isinstance(name, str) and isinstance(place, str) and place for name, place in held.items()):
        raise DataError(f"mask is {str(mask)[:80]!r}", "name a folder or a column, or write {lesion: masks/lesion}")
    return dict(held)


def mask_paths(folder: Path, place: str, names: Sequence[str], table: pl.DataFrame | None) -> list[str | None]:
    """For each image its mask's path below the folder, or None: from the column `place` of the label table, else from
    the folder `place`, where it has the image's own path (any suffix). Raises DataError when `place` is neither."""
    if table is not None and place in table.columns:
        where = f"the column '{place}'"
        return [None if value is None else inside(value, where) for value in table[place].to_list()]
    if not (folder / inside(place, "mask")).is_dir():
        columns = "" if table is None else f"; columns: {', '.join(table.columns[:20])}"
        raise DataError(f"mask: '{place}' is no column and no folder in {folder}", f"check the name{columns}")
    prefix = PurePosixPath(place)
    found = {_stem(PurePosixPath(name)): name for name in listing(folder / place)}
    held = [found.get(_stem(PurePosixPath(name))) for name in names]
    if names and all(each is None for each in held):
        raise DataError(f"mask: no file of '{place}' is called like an image", "give each mask its image's path")
    return [None if each is None else (prefix / each).as_posix() for each in held]


def describe_mask(data: bytes, image: Manifest) -> Manifest:
    """The manifest of a mask's bytes; raises DataError when it is no whole-number image of the image's size."""
    made, mode = describe(data)
    if made.media == "image/jpeg":
        raise DataError("a mask as JPEG is not exact: its edges bleed", "give it as PNG, TIFF or NumPy")
    if made.shape[:2] != image.shape[:2]:
        sizes = " and ".join(f"{shape[1]} × {shape[0]}" for shape in (made.shape, image.shape))
        raise DataError(f"mask and image differ in size: {sizes} ({mode})", "give the mask at its image's size")
    return Manifest("mask", made.items, made.media, made.shape, made.ops)


def mask_fields(names: Sequence[str]) -> list[Field]:
    """The fields; they have no role."""
    return [Field(name, "mask", ()) for name in names]


def _stem(path: PurePosixPath) -> str:
    return path.with_suffix("").as_posix()
