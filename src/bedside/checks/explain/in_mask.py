"""Heat against masks: does it lie where somebody marked what matters, more than that place is large?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bedside.checks.explain.saliency import Floats, Maps
from bedside.cohort.cohort import Cohort
from bedside.cohort.manifest import file_fields
from bedside.models.imaging.network import HasNetwork

METRICS = ("heat_in_mask", "mask_area", "heat_in_mask_gain", "heat_pointing")
_OF_VALUES = frozenset({"window", "invert", "grey"})  # operations that move no pixel


def masks_seen(cohort: Cohort, prepared: Cohort, network: HasNetwork) -> dict[str, Floats]:
    """Each mask field that holds any, as the network's inputs show it, (n, h, w): the share of each pixel that is
    marked, 0 in rows without. `prepared` is the cohort after the model's steps, whose resizing masks go through too."""
    names = [name for name in file_fields(cohort, "mask") if cohort[name].null_count() < len(cohort)]
    return {name: network.laid(_planes(cohort, prepared, name)) for name in names}


def _planes(cohort: Cohort, prepared: Cohort, name: str) -> Iterator[Floats]:
    from bedside.prepare.arrays import Images, Masks, replay

    images = Images(prepared)
    for row, mask in enumerate(Masks(cohort, name)):
        ops = [op for op in images.manifest(row).ops if op["op"] not in _OF_VALUES]
        if mask is None:
            yield np.zeros(images.shape(row)[:2], dtype=np.float32)
        else:
            yield replay(mask[:, :, None].astype(np.float32), ops)[:, :, 0]


def against_mask(heat: Maps, covered: NDArray[np.bool_], mask: Floats) -> dict[str, Maps]:
    """By metric one number a row, NaN without mask or heat: share of the heat (n, h, w) inside, share of the picture's
    area inside, their difference, and whether the hottest place is inside (0 or 1).

    Source: Wang 2020 (energy-based pointing game); Zhang 2018 (pointing game).
    """
    marked = mask.sum(axis=(1, 2), dtype=np.float64)
    total = heat.sum(axis=(1, 2))
    known = (marked > 0) & (total > 0)
    share = np.divide((heat * mask).sum(axis=(1, 2)), total, out=np.full(len(heat), np.nan), where=known)
    area = np.divide(marked, covered.sum(axis=(1, 2)), out=np.full(len(heat), np.nan), where=known)
    rows = np.arange(len(heat))
    hottest = heat.reshape(len(heat), -1).argmax(axis=1)
    hit = np.where(known, mask.reshape(len(heat), -1)[rows, hottest] >= 0.5, np.nan)
    return dict(zip(METRICS, (share, area, share - area, hit), strict=True))
