"""Heat maps to look at: the image, and beside it the same under its heat, on black."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.checks.assemble import column
from bedside.checks.explain.figures import FEWEST
from bedside.checks.explain.maps import enlarged
from bedside.checks.explain.saliency import Classes, Floats, Maps
from bedside.evidence.estimate import Figure
from bedside.models.task import Classify

THUMBNAIL = 128  # pixels
COVER = 0.65  # of the hottest place
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)


def mean_pictures(shown: Floats, maps: Maps, classes: Classes, p: Maps, task: Classify) -> Figure | None:
    """For each class explained in at least 5 images, their mean, plain and under their mean map: no patient's."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("images", "explained_class", "probability", "image", "heat_map")
    }
    peak = maps.max(axis=(1, 2), keepdims=True)
    relative = np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0)
    for code, label in enumerate(task.classes):
        rows = np.flatnonzero(classes == code)
        if len(rows) < FEWEST:
            continue
        heat = enlarged(relative[rows].mean(axis=0, keepdims=True), *shown.shape[2:])[0]
        picture = shown[rows].astype(np.float64).mean(axis=0)
        columns["images"].append(len(rows))
        columns["explained_class"].append(label)
        columns["probability"] += column(p[rows].mean(keepdims=True))
        columns["image"].append(_png(_grey(picture)))
        columns["heat_map"].append(_png(_overlay(picture, heat)))
    return Figure("heat_maps_mean", "images", columns, _axes("images")) if columns["images"] else None


def pictures(
    shown: Floats,
    maps: Maps,
    classes: Classes,
    p: Maps,
    score: Maps,
    positions: NDArray[np.int64],
    task: Classify,
    most: int,
    truth: Sequence[str | None],
) -> Figure:
    """Images spread over the score, plain and under their map; `row` is a position, never an id; `truth` a row's."""
    order = np.argsort(-score, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64))]
    large = enlarged(maps[chosen], *shown.shape[2:])
    columns: dict[str, list[Any]] = {
        "row": [int(positions[i]) for i in chosen],
        "explained_class": [task.classes[classes[i]] for i in chosen],
        "probability": column(p[chosen]),
        "truth": [truth[i] for i in chosen],
        "image": [_png(_grey(shown[i])) for i in chosen],
        "heat_map": [_png(_overlay(shown[i], heat)) for i, heat in zip(chosen, large, strict=True)],
    }
    return Figure("heat_maps", "images", columns, {**_axes("row"), "truth": "truth"})


def _axes(x: str) -> dict[str, str]:
    return {"image": "heat_map", "plain": "image", "x": x, "y": "explained_class", "value": "probability"}


def _grey(picture: NDArray[Any]) -> NDArray[np.float64]:
    """A picture (1 or 3, h, w) in 0..1 as (h, w, 3)."""
    three: NDArray[np.float64] = np.repeat(picture, 3, axis=0)[:3] if len(picture) == 1 else picture
    return three.transpose(1, 2, 0).astype(np.float64)


def _overlay(picture: NDArray[Any], heat: Maps) -> NDArray[np.float64]:
    """The picture (1 or 3, h, w) under its heat (h, w), the hotter the less of it; (h, w, 3) in 0..1."""
    share = heat / heat.max() if heat.max() > 0 else heat
    at = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(share, at, _HEAT[:, k]) for k in range(3)], axis=2) / 255.0
    cover = COVER * share[:, :, None]
    laid: NDArray[np.float64] = (1 - cover) * _grey(picture) + cover * colour
    return laid


def _png(picture: NDArray[np.float64]) -> str:
    """A data URI of a PNG of a picture (h, w, 3) in 0..1, its longer side at most 128 pixels."""
    from bedside.prepare.arrays import encode_png, resized

    small = picture.astype(np.float32)
    side = THUMBNAIL / max(small.shape[:2])
    if side < 1:
        small = resized(small, round(small.shape[0] * side), round(small.shape[1] * side))
    data = encode_png(np.clip(np.round(255 * small), 0, 255).astype(np.uint8))
    return "data:image/png;base64," + base64.b64encode(data).decode()
