"""The example that image models are judged on: noise with one blob, whose brightness is the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from bedside.cohort.cohort import Cohort
from bedside.cohort.files import MemoryFiles
from bedside.cohort.schema import Field

SHADES = ("bright", "dark", "none")


def example_images(rows: int = 72, side: int = 32, seed: int = 0) -> Cohort:
    """`image` (grey, side × side pixels) predicts `shade` (bright, dark, none: no blob) and `blob` (no, yes: bright).

    Two images a subject; the blob's place is in `x` and `y` (0..1, no inputs). Held in memory.
    """
    from bedside.intake.pixels import describe
    from bedside.prepare.arrays import encode_png

    rng = np.random.default_rng(seed)
    shade = np.array(SHADES)[rng.permutation(np.arange(rows) % 3)]
    x, y = rng.uniform(0.25, 0.75, rows), rng.uniform(0.25, 0.75, rows)
    at = (np.arange(side) + 0.5) / side
    files, digests = MemoryFiles(), []
    for i in range(rows):
        blob = np.exp(-((at[:, None] - y[i]) ** 2 + (at[None, :] - x[i]) ** 2) / (2 * 0.1**2))
        height = {"bright": 90.0, "dark": -90.0, "none": 0.0}[str(shade[i])]
        pixels = rng.normal(115, 20, (side, side)) + height * blob
        data = encode_png(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
        files.put(data)
        digests.append(files.put(describe(data)[0].to_bytes()))
    columns = {"image": digests, "shade": shade, "blob": np.where(shade == "bright", "yes", "no"), "x": x, "y": y}
    fields = [
        Field("image", "image"),
        Field("shade", "category", ("target",)),
        Field("blob", "category", ("target",)),
        Field("x", "number", ()),
        Field("y", "number", ()),
    ]
    subject = [f"s{i // 2}" for i in range(rows)]
    cohort = Cohort.of(columns, fields, subject=subject, row_id=[f"r{i:04d}" for i in range(rows)], name="blobs")
    return replace(cohort, files=files)


def with_marks(cohort: Cohort) -> Cohort:
    """The example with two labels for its targets: `bright` and `dark`, true where the blob is; a fifth of each, and
    never both, is unknown."""
    shade, which = cohort["shade"].to_list(), np.random.default_rng(3).random(len(cohort))
    columns = {
        "bright": pl.Series([None if u < 0.2 else s == "bright" for u, s in zip(which, shade, strict=True)]),
        "dark": pl.Series([None if u > 0.8 else s == "dark" for u, s in zip(which, shade, strict=True)]),
    }
    fields = [Field(name, "boolean", ("target",)) for name in columns]
    return cohort.keeping(["image", "x", "y"]).with_columns(columns, fields)
