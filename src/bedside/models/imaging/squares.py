"""Squares: the images of a cohort scaled to one size, decoded once, kept as 16-bit whole numbers on disk.

What is kept is disposable: a file that is missing or damaged is made anew. Its name is the digest of the image's
manifest, which covers the file and every operation on it, so folds, refits and later runs share it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.errors import DataError

Floats = NDArray[np.float32]
Whole = NDArray[np.uint16]

FULL = 65534  # stands for 1.0
EMPTY = 65535  # where the square is not covered by the image
FORMAT = 1
PIXELS = "pixels"  # the folder's name; it holds patients' images, so erasing one empties it
_CHECK = 8  # bytes of BLAKE2b before the numbers


class Squares:
    """`squares[row]`: shape (c, size, size), 0..65534 for 0..1, 65535 where the image does not reach; c is 1 when the
    three channels are equal.

    With a `folder` they are kept there; without one each is decoded when it is asked for. Raises DataError for a
    missing field, a row without its image, and bytes that are none.
    """

    def __init__(self, cohort: Cohort, field: str, size: int, folder: Path | None = None) -> None:
        from bedside.prepare.arrays import Images

        if field not in cohort.schema:
            raise DataError(f"field '{field}' is missing, and the model looks at it", "give the image")
        missing = cohort[field].null_count()
        if missing:
            raise DataError(
                f"field '{field}' has no image in {missing} of {len(cohort)} rows", "drop these rows in clean"
            )
        self.size = size
        self._images = Images(cohort, field)
        self._folder = folder

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Whole:
        if self._folder is None:
            return whole(square(self._images[row], self.size))
        digest = self._images.digest(row)
        path = self._folder / digest[:2] / f"{digest}-{self.size}-{FORMAT}"
        found = _read(path, self.size)
        if found is None:
            found = whole(square(self._images[row], self.size))
            _write(path, found)
        return found


@contextmanager
def cached(run: Run) -> Iterator[Path]:
    """Where squares are kept while a model is fitted: the run's cache, else a folder that is gone afterwards."""
    if run.cache is not None:
        yield run.cache / PIXELS
        return
    folder = run.folder / PIXELS
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def square(image: Floats, size: int) -> Floats:
    """An image (h, w, c) scaled to fit (size, size, c), its shape kept; NaN where the square is not covered."""
    from bedside.prepare.arrays import inner_size, resized

    h, w = inner_size(image.shape[0], image.shape[1], size, size)
    out = np.full((size, size, image.shape[2]), np.nan, dtype=np.float32)
    top, left = (size - h) // 2, (size - w) // 2
    out[top : top + h, left : left + w] = resized(image, h, w)
    return out


def whole(image: Floats) -> Whole:
    """(h, w, c) in 0..1 or NaN → (c, h, w) as 16-bit whole numbers, one channel when all are equal."""
    made = np.full(image.shape, EMPTY, dtype=np.uint16)
    covered = ~np.isnan(image)
    made[covered] = np.rint(np.clip(image[covered], 0.0, 1.0) * np.float32(FULL)).astype(np.uint16)
    if made.shape[2] == 3 and (made == made[:, :, :1]).all():
        made = made[:, :, :1]
    return np.ascontiguousarray(made.transpose(2, 0, 1))


def planes(made: Whole, channels: int) -> Whole:
    """The same with 1 channel (luminance, ITU-R BT.601) or 3 (grey repeated)."""
    if made.shape[0] == channels:
        return made
    if channels == 3:
        return np.repeat(made, 3, axis=0)
    from bedside.prepare.arrays import LUMINANCE

    grey = np.rint(np.tensordot(LUMINANCE, made.astype(np.float32), axes=1)).astype(np.uint16)
    return np.where(made[0] == EMPTY, np.uint16(EMPTY), np.minimum(grey, FULL))[None]


def _write(path: Path, made: Whole) -> None:
    """Wholly there or not at all; not synced to disk, because it can be made again."""
    data = made.tobytes()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_check(data) + data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, size: int) -> Whole | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    channels, rest = divmod(len(data) - _CHECK, 2 * size * size)
    if rest or channels not in (1, 3) or _check(data[_CHECK:]) != data[:_CHECK]:
        return None
    return np.frombuffer(data, dtype=np.uint16, offset=_CHECK).reshape(channels, size, size)


def _check(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK).digest()
