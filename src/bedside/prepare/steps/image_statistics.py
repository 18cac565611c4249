"""Image statistics: plain numbers of each image's pixels, so that a table model is the baseline beside a network.

They say how bright, how contrasty, how fine-grained an image is, what its border looks like and its size; whatever a
network adds must be more than that, and a model that does well on them alone may have found a shortcut.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.prepare.arrays import Images, resized
from bedside.prepare.steps.base import FittedStep, chosen

SIDE = 64
QUANTILES = (5, 25, 50, 75, 95)
BINS = 32
STATISTICS = (
    "mean", "sd", *(f"q{q:02d}" for q in QUANTILES), "entropy", "gradient", "gradient_fine", "laplacian",
    "border_mean", "border_sd", "border_dark", "centre_mean", "left_right", "top_bottom", "aspect", "log_area",
)  # fmt: skip

_KEPT = 200_000
_known: OrderedDict[str, tuple[float, ...]] = OrderedDict()  # by manifest digest: pure, so the folds may share it


@dataclass
class ImageStatistics(FittedStep):
    """Number fields `<image>.mean`, `.sd`, … in place of each image input (or those of `fields`).

    All but aspect and size are of the luminance of a 64 × 64 thumbnail: mean, standard deviation, quantiles, entropy of
    its 32-bin histogram (bits), mean gradient (of it, and of the image at its own scale), mean absolute Laplacian, mean
    and standard deviation of the outer eighth, its share of black, mean of the middle quarter, differences of halves;
    then width over height and the logarithm of the number of pixels.
    """

    fields: Sequence[str] | None = None

    name: ClassVar[str] = "image_statistics"
    main: ClassVar[str] = "fields"

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn which fields are images; raises DataError when none is."""
        names = [item.name for item in chosen(train, ("image",), self.fields)]
        if not names:
            raise DataError("step 'image_statistics': no input is an image", "read images, or remove it")
        self.state_ = {"fields": names}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with the statistics as inputs and without the images; a missing image has none."""
        names: list[str] = self.state["fields"]
        self.require(cohort, names)
        fields, series = [], []
        for name in names:
            table = _table(Images(cohort, name, channels=1), cohort[name])
            for i, statistic in enumerate(STATISTICS):
                fields.append(Field(f"{name}.{statistic}", "number"))
                series.append(pl.Series(fields[-1].name, table[:, i], nan_to_null=True))
        taken = [item.name for item in fields if item.name in cohort.schema]
        if taken:
            raise DataError(f"there are fields already called {', '.join(taken[:5])}", "rename them")
        rest = cohort.keeping([name for name in cohort.schema.names if name not in names])
        schema = replace(rest.schema, fields=(*rest.schema.fields, *fields))
        return rest.derive(rest.frame.hstack(series), schema)


def _table(images: Images, digests: pl.Series) -> NDArray[np.float64]:
    out = np.full((len(images), len(STATISTICS)), np.nan)
    for row, digest in enumerate(digests.to_list()):
        if digest is None:
            continue
        if digest not in _known:
            _known[digest] = statistics(images[row][:, :, 0])
            if len(_known) > _KEPT:
                _known.popitem(last=False)
        out[row] = _known[digest]
    return out


def statistics(image: NDArray[np.float32]) -> tuple[float, ...]:
    """The statistics, in the order of STATISTICS, of a grey image (h, w) in 0..1."""
    height, width = image.shape
    small = resized(image[:, :, None], SIDE, SIDE)[:, :, 0].astype(np.float64)
    shares = np.histogram(small, bins=BINS, range=(0.0, 1.0))[0] / small.size
    present = shares[shares > 0]
    edge = SIDE // 8
    inner = np.zeros((SIDE, SIDE), dtype=bool)
    inner[edge:-edge, edge:-edge] = True
    border = small[~inner]
    half, quarter = SIDE // 2, SIDE // 4
    found = (
        small.mean(),
        small.std(),
        *np.percentile(small, QUANTILES),
        -float((present * np.log2(present)).sum()),
        _gradient(small),
        _gradient(image.astype(np.float64)),
        _laplacian(small),
        border.mean(),
        border.std(),
        (border < 1 / 255).mean(),
        small[quarter:-quarter, quarter:-quarter].mean(),
        small[:, :half].mean() - small[:, half:].mean(),
        small[:half].mean() - small[half:].mean(),
        width / height,
        np.log(width * height),
    )
    return tuple(float(each) for each in found)


def _gradient(image: NDArray[np.float64]) -> float:
    """Mean length of the gradient; 0 for an image of one row or column."""
    if min(image.shape) < 2:
        return 0.0
    down, across = np.diff(image, axis=0)[:, :-1], np.diff(image, axis=1)[:-1]
    return float(np.hypot(down, across).mean())


def _laplacian(image: NDArray[np.float64]) -> float:
    middle = image[1:-1, 1:-1]
    around = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    return float(np.abs(around - 4 * middle).mean())
