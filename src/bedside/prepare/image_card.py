"""What the dataset card says of images: how bright they are, whether borders are black, whether marks stand in corners.

Hints, not findings of any model: a burnt-in letter or a collimator's border is harmless until it goes with the outcome,
and then a network will read it. So marks in the corners are also counted class by class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Finding
from bedside.evidence.metrics.proportions import proportion
from bedside.prepare.arrays import Images

Floats = NDArray[np.float32]

LOOKED_AT = 1000  # images at most
CORNER = 6  # a corner is a sixth of the side
BRIGHT, DARK, BLACK = 0.9, 0.5, 1 / 255
SHARES = ("image_brightness", "image_black_border", "image_corner_marks")


def describe_images(cohort: Cohort, field: str, *, part: str, fewest: int) -> tuple[list[Estimate], list[Finding]]:
    """Means over at most `LOOKED_AT` images (evenly spaced by row id) of the three of SHARES, by class for the marks.

    The finding `image_marks_differ` says that the clustered 95 % intervals of two classes' shares of marked images do
    not overlap. Nothing is told of fewer than `fewest` images.
    """
    order = cohort.frame.with_row_index().filter(cohort[field].is_not_null()).sort("row_id")["index"].to_numpy()
    rows = order[np.unique(np.linspace(0, len(order) - 1, min(LOOKED_AT, len(order))).round().astype(np.int64))]
    if len(rows) < fewest:
        return [], []
    images = Images(cohort, field, channels=1)
    seen = np.array([_seen(images[int(row)][:, :, 0]) for row in rows])
    estimates = [
        Estimate(name, float(seen[:, i].mean()), n_rows=len(rows), part=part, at={"field": field}, exact=True)
        for i, name in enumerate(SHARES)
    ]
    shares = _by_class(cohort.take(rows), seen[:, 2] > 0, fewest)
    for label, (share, _, _, n) in shares.items():
        at = {"field": field, "level": label}
        estimates.append(Estimate("image_corner_marks", share, n_rows=n, part=part, at=at, exact=True))
    return estimates, _differing(field, shares)


def _seen(image: Floats) -> tuple[float, bool, bool]:
    """Mean brightness, whether the outermost pixels are black, whether a corner holds a mark; image (h, w) in 0..1."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return float(image.mean()), float((edge <= BLACK).mean()) > 0.95, corner_mark(image)


def corner_mark(image: Floats) -> bool:
    """Whether a corner is dark but for a few bright pixels: between 0.5 and 40 % of it at 0.9 or more of white."""
    h, w = max(1, image.shape[0] // CORNER), max(1, image.shape[1] // CORNER)
    for corner in (image[:h, :w], image[:h, -w:], image[-h:, :w], image[-h:, -w:]):
        bright = float((corner >= BRIGHT).mean())
        if 0.005 <= bright <= 0.4 and float(np.median(corner)) <= DARK:
            return True
    return False


def _by_class(seen: Cohort, marked: NDArray[np.bool_], fewest: int) -> dict[str, tuple[float, float, float, int]]:
    """Share of marked images with its interval by subject, and n, of each class of a target of few classes."""
    targets = [item for item in seen.schema.with_role("target") if item.kind in ("category", "boolean", "ordinal")]
    out: dict[str, tuple[float, float, float, int]] = {}
    for item in targets[:1]:
        for label in sorted(str(each) for each in seen[item.name].drop_nulls().unique().to_list())[:20]:
            members = (seen[item.name].cast(str) == label).fill_null(False).to_numpy()
            if int(members.sum()) >= fewest and np.unique(seen.subject_codes[members]).size > 1:
                found = proportion(marked[members], subject=seen.subject_codes[members])
                out[label] = found.value, found.low, found.high, int(members.sum())
    return out


def _differing(field: str, shares: Mapping[str, tuple[float, float, float, int]]) -> list[Finding]:
    if not shares:
        return []
    most = max(shares, key=lambda label: shares[label][1])
    least = min(shares, key=lambda label: shares[label][2])
    if shares[most][1] <= shares[least][2]:
        return []
    values = {"field": field, "most": most, "share": shares[most][0], "least": least, "other": shares[least][0]}
    return [Finding("image_marks_differ", "caution", values)]
