"""From a cohort's image field to what a network takes: squares of one size, grey or colour, normalised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.errors import DataError

Floats = NDArray[np.float32]

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
    def learnt(cls, cohort: Cohort, field: str, size: int, colour: bool | None) -> tuple[Pixels, Floats]:
        """What the training part says, and its inputs (rows, channels, size, size).

        `colour` None: colour if at least half of the images show any.
        """
        squares = [square(image, size) for image in _images(cohort, field)]
        if colour is None:
            colour = 2 * sum(_coloured(each) for each in squares) >= len(squares)
        raw = np.stack([_planes(each, colour) for each in squares])
        mean, spread = [], []
        for channel in range(raw.shape[1]):
            seen = raw[:, channel][~np.isnan(raw[:, channel])].astype(np.float64)
            mean.append(float(seen.mean()))
            spread.append(float(seen.std()) if seen.std() > 1e-6 else 1.0)
        found = cls(field, size, tuple(mean), tuple(spread))
        return found, found._normalised(raw)

    def inputs(self, cohort: Cohort) -> Floats:
        """What the network takes, shape (rows, channels, size, size); DataError for a row without its image."""
        out = np.zeros((len(cohort), len(self.mean), self.size, self.size), dtype=np.float32)
        for row, image in enumerate(_images(cohort, self.field)):
            out[row] = _planes(square(image, self.size), len(self.mean) == 3)
        return self._normalised(out)

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

    def _normalised(self, raw: Floats) -> Floats:
        mean, spread = self._columns()
        raw -= mean
        raw /= spread
        return np.nan_to_num(raw, copy=False, nan=0.0)

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


def square(image: Floats, size: int) -> Floats:
    """An image (h, w, c) scaled to fit (size, size, c), its shape kept; NaN where the square is not covered."""
    from bedside.prepare.arrays import inner_size, resized

    h, w = inner_size(image.shape[0], image.shape[1], size, size)
    out = np.full((size, size, image.shape[2]), np.nan, dtype=np.float32)
    top, left = (size - h) // 2, (size - w) // 2
    out[top : top + h, left : left + w] = resized(image, h, w)
    return out


def _images(cohort: Cohort, field: str) -> Iterator[Floats]:
    from bedside.prepare.arrays import Images

    if field not in cohort.schema:
        raise DataError(f"field '{field}' is missing, and the model looks at it", "give the image")
    missing = cohort[field].null_count()
    if missing:
        raise DataError(f"field '{field}' has no image in {missing} of {len(cohort)} rows", "drop these rows in clean")
    return iter(Images(cohort, field))


def _coloured(image: Floats) -> bool:
    return image.shape[2] == 3 and float(np.nanmean(np.ptp(image, axis=2))) > COLOURED


def _planes(image: Floats, colour: bool) -> Floats:
    """An image (h, w, c) as one plane of luminance or three of colour, (1 or 3, h, w)."""
    from bedside.prepare.arrays import with_channels

    return with_channels(image, 3 if colour else 1).transpose(2, 0, 1)
