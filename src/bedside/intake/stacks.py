"""Stacks: NPZ files of images and labels by part, as MedMNIST gives them, split into single images.

train_images (n, h, w) or (n, h, w, 3) uint8 or uint16     train_labels (n,) or (n, 1)
val_…, test_… likewise; or just images and labels
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.files import MemoryFiles
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.intake.assemble import assemble, origin_of
from bedside.intake.memory import refuse_too_large
from bedside.intake.pixels import describe
from bedside.intake.source import Source, damaged

PART = "part"


def is_stack(path: Path) -> bool:
    """Whether a file is a ZIP whose first member is a NumPy array."""
    if not zipfile.is_zipfile(path):
        return False
    with damaged(Source(path, "text")), zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist()[:1])


def read_stack(path: Path, target: str | Sequence[str] | None, window: Sequence[float] | None) -> Cohort:
    """The cohort of a stack: `image`, `part` where parts are named, and the target (category, from whole numbers), or
    targets, one a column of the labels."""
    arrays = _arrays(path)
    parts = sorted({name[: -len("images")] for name in arrays if name.endswith("images")})
    if not parts:
        raise DataError(f"{path}: no array is called images or …_images", f"arrays: {', '.join(arrays)}")
    files = MemoryFiles()
    ids: list[str] = []
    digests: list[str] = []
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    labels: list[tuple[str, ...]] = []
    named: list[str] = []
    for prefix in parts:
        part = prefix.rstrip("_")
        stack = arrays[f"{prefix}images"]
        if stack.ndim not in (3, 4):
            raise DataError(f"{path}: {prefix}images has shape {stack.shape}", "give (n, h, w) or (n, h, w, 3)")
        if targets:
            labels += _labels(path, f"{prefix}labels", arrays.get(f"{prefix}labels"), (len(stack), len(targets)))
        for i, image in enumerate(stack):
            data = _npy(image)
            try:
                made, _ = describe(data, window)
            except DataError as error:
                raise DataError(f"{path}: {prefix}images[{i}]: {error.what}", error.way_out) from None
            files.put(data)
            digests.append(files.put(made.to_bytes()))
            ids.append(f"{prefix}{i:06d}")
            named.append(part)
    fields, columns = [Field("image", "image")], {"row_id": ids, "image": digests}
    if parts != [""]:
        fields.append(Field(PART, "category", ()))
        columns[PART] = named
    for i, name in enumerate(targets):
        fields.append(Field(name, "category", ("target",)))
        columns[name] = [row[i] for row in labels]
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    about = {"format": "npz", "arrays": {name: list(each.shape) for name, each in sorted(arrays.items())}}
    about["window"] = None if window is None else [float(each) for each in window]
    origin = origin_of("images", about, {}, Source(path, "text").digest())
    made_of = assemble(str(path), frame, fields, subject=None, row_id="row_id", origin=origin)
    return made_of.with_files(files)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    source = Source(path, "text", "zip")
    with damaged(source):
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
        refuse_too_large(str(path), 2 * size, advice="split the stack, or give the images as files")
        try:
            with np.load(path, allow_pickle=False) as held:
                return {str(name): held[name] for name in held.files}
        except ValueError as error:
            raise DataError(
                f"{path}: an array cannot be read: {str(error).splitlines()[0][:120]}",
                "save it with numpy.savez, without objects",
            ) from None


def _labels(path: Path, name: str, values: NDArray[Any] | None, shape: tuple[int, int]) -> list[tuple[str, ...]]:
    """The labels as text, a row an image and a column a target."""
    if values is None:
        raise DataError(f"{path}: there is no array {name}", "leave `target` out, or add it")
    if values.ndim == 1:
        values = values[:, None]
    n, targets = shape
    if values.shape != shape or values.dtype.kind not in "iubU":
        raise DataError(
            f"{path}: {name} has shape {values.shape} of {values.dtype}; {n} images and targets {targets} are read",
            "give one label an image, or name each of its columns: target: [effusion, nodule]",
        )
    return [tuple(str(each) for each in row) for row in values.tolist()]


def _npy(image: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(image), allow_pickle=False)
    return out.getvalue()
