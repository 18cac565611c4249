"""From a cohort's image field to what a network takes: squares of one size, grey or colour, normalised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError
from bedside.models.imaging.squares import EMPTY, FULL, Floats, Squares, Whole, planes, square

COLOURED = 0.02  # mean distance between the channels of a pixel, on 0..1, above which an image shows colour


@dataclass(frozen=True)
class Pixels:
    """How images become inputs: the field, squares of `size` pixels, colour or grey, mean and spread of each channel.

    A picture keeps its shape: it is scaled until its longer side is `size`, and the rest of the square is the mean.
    """

    field: str
    size: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def learnt(cls, squares: Squares, field: str, colour: bool | None) -> Pixels:
        """What the training part says; `colour` None: colour if at least half of the images show any."""
        if colour is None:
            colour = 2 * sum(_coloured(squares[row]) for row in range(len(squares))) >= len(squares)
        channels = 3 if colour else 1
        n, total, squared = 0, [0] * channels, [0] * channels
        for row in range(len(squares)):  # sums of whole numbers: exact, whatever the order
            each = planes(squares[row], channels)
            covered = each[0] != EMPTY
            n += int(covered.sum())
            for channel in range(channels):
                seen = each[channel][covered].astype(np.uint64)
                total[channel] += int(seen.sum())
                squared[channel] += int((seen * seen).sum())
        mean = tuple(each / n / FULL for each in total)
        spread = tuple(math.sqrt(max(q * n - s * s, 0)) / n / FULL for s, q in zip(total, squared, strict=True))
        return cls(field, squares.size, mean, tuple(each if each > 1e-6 else 1.0 for each in spread))

    def inputs(self, cohort: Cohort) -> Floats:
        """What the network takes, shape (rows, channels, size, size); DataError for a row without its image."""
        return self.taken(Squares(cohort, self.field, self.size), range(len(cohort)))

    def taken(self, squares: Squares, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """Some rows of squares as the network takes them, shape (rows, channels, size, size)."""
        mean, spread = self._columns()
        out = np.empty((len(rows), len(self.mean), self.size, self.size), dtype=np.float32)
        for at, row in enumerate(rows):
            made = planes(squares[int(row)], len(self.mean))
            out[at] = (made.astype(np.float32) / np.float32(FULL) - mean) / spread
            out[at][made == EMPTY] = 0.0
        return out

    def pictures(self, inputs: Floats) -> Floats:
        """Inputs as images in 0..1 again."""
        mean, spread = self._columns()
        return np.clip(inputs * spread + mean, 0.0, 1.0)

    def covered(self, cohort: Cohort) -> NDArray[np.bool_]:
        """Where a square holds picture, shape (rows, size, size); nothing is decoded."""
        from bedside.prepare.arrays import Images

        images = Images(cohort, self.field)
        return self.laid(np.ones(images.shape(row)[:2], dtype=np.float32) for row in range(len(images))) > 0

    def laid(self, planes: Iterable[Floats]) -> Floats:
        """Planes (h, w) of the images' own sizes laid out as these are, 0 around them: (rows, size, size)."""
        laid = [square(plane[:, :, None], self.size)[:, :, 0] for plane in planes]
        return np.nan_to_num(np.stack(laid), copy=False, nan=0.0)

    def _columns(self) -> tuple[Floats, Floats]:
        mean, spread = (np.array(each, dtype=np.float32)[:, None, None] for each in (self.mean, self.spread))
        return mean, spread

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"field": self.field, "size": self.size, "mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Pixels:
        """The inverse of `to_json`."""
        return cls(data["field"], data["size"], tuple(data["mean"]), tuple(data["spread"]))


def image_field(cohort: Cohort, who: str) -> str:
    """The one input field, an image; raises DataError naming what else there is."""
    inputs = cohort.schema.inputs
    images = [item.name for item in inputs if item.kind == "image"]
    others = [item.name for item in inputs if item.kind != "image"]
    if len(images) != 1:
        raise DataError(f"'{who}' looks at one image field, and the cohort has {len(images)}: {images}")
    if others:
        raise DataError(
            f"'{who}' looks at the image alone, and {others[:5]} are inputs too",
            f"add the step select: [{images[0]}], or take the role input away from them",
        )
    return images[0]


def _coloured(made: Whole) -> bool:
    if made.shape[0] == 1:
        return False
    covered = made[0] != EMPTY
    apart = made.max(axis=0).astype(np.float64) - made.min(axis=0)
    return bool(apart[covered].mean() / FULL > COLOURED)
