"""Beer–Lambert projection of ellipsoids on a square detector, with the photons that are counted and the blur.

Beams are parallel to y, x runs to the image's right, z upwards, in cm from the detector's centre. A beam at (x, z)
crosses an ellipsoid along 2 b √(1 − (u/a)² − (v/c)²), where (u, v) is (x, z) in the ellipsoid's own axes; `bend` shears
it along v by bend · u², which changes no chord and makes a rib of it. Attenuations of overlapping solids add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Solid(NamedTuple):
    """An ellipsoid: centre and half axes (cm), attenuation added (1/cm), turned by `angle` (degrees) in the image."""

    x: float
    z: float
    a: float
    b: float
    c: float
    mu: float
    angle: float = 0.0
    bend: float = 0.0


def chords(solid: Solid, x: Array, z: Array) -> Array:
    """Length of the beam at (x, z) inside a solid, cm, in the shape that x and z broadcast to; 0 beside it."""
    turn = np.deg2rad(solid.angle)
    dx, dz = x - solid.x, z - solid.z
    u, v = np.cos(turn) * dx + np.sin(turn) * dz, np.cos(turn) * dz - np.sin(turn) * dx
    if solid.bend:
        v = v - solid.bend * u**2
    u /= solid.a
    v /= solid.c
    inside = 1.0 - u * u - v * v
    return np.asarray(2.0 * solid.b * np.sqrt(np.maximum(inside, 0.0)))


def grid(size: int, side: float) -> tuple[Array, Array]:
    """x of each column (1, size) and z of each row (size, 1) at the pixels' centres, of a detector `side` cm wide."""
    at = ((np.arange(size) + 0.5) / size - 0.5) * side
    return at[None, :], -at[:, None]


def silhouette(solid: Solid, size: int, side: float) -> NDArray[np.bool_]:
    """Pixels whose central beam crosses the solid, shape (size, size)."""
    return np.asarray(chords(solid, *grid(size, side)) > 0)


def attenuation(solids: Sequence[Solid], size: int, side: float) -> Array:
    """Σ μ · chord of each pixel's beam, shape (size, size)."""
    x, z = grid(size, side)
    out = np.zeros((size, size))
    scale = size / side
    for solid in solids:
        reach = max(solid.a, solid.c) + abs(solid.bend) * solid.a**2
        first = [max(0, int((at - reach) * scale + size / 2) - 1) for at in (-solid.z, solid.x)]
        last = [min(size, int((at + reach) * scale + size / 2) + 2) for at in (-solid.z, solid.x)]
        if first[0] < last[0] and first[1] < last[1]:
            rows, columns = slice(first[0], last[0]), slice(first[1], last[1])
            out[rows, columns] += solid.mu * chords(solid, x[:, columns], z[rows])
    return out


def counted(through: Array, photons: float, rng: np.random.Generator) -> Array:
    """Photons counted behind an attenuation: Poisson of photons · exp(−through) (Barrett & Myers 2004, ch. 11)."""
    return rng.poisson(photons * np.exp(-through)).astype(np.float64)


def blurred(image: Array, sigma: float) -> Array:
    """The image under a Gaussian of `sigma` pixels, its edges repeated."""
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    height, width = image.shape
    wide = np.pad(image, reach, mode="edge")
    down = sum(weight * wide[i : i + height] for i, weight in enumerate(weights))
    return np.asarray(sum(weight * down[:, i : i + width] for i, weight in enumerate(weights)))
