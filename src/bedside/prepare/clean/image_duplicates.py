"""Near-duplicate images: a perceptual hash proposes, correlation of band-passed thumbnails confirms.

The hash is 64 bits: the signs, about their median, of the 8 × 8 lowest cosine coefficients of a 32-px thumbnail
(pHash; Zauner 2010). The confirmation is the normalised correlation of 64-px thumbnails between Gaussian scales of 0.7
and 6 px, which sees speckle and edges rather than the overall shading that all images of one kind share. Both look at
luminance, stretched to a square, so that a copy that was scaled, re-compressed, or lightly annotated is found; a
mirrored or differently cropped one is not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.prepare.arrays import Images, resized

Ints = NDArray[np.int64]

HASH_SIDE, SIDE = 32, 64
FINE, COARSE = 0.7, 6.0
_BLOCK = 1024


def near_duplicates(cohort: Cohort, field: str, *, distance: int, correlation: float) -> tuple[Ints, int]:
    """A number shared by the rows whose images resemble each other, directly or through one another; −1 for the others.

    Shape (rows,). Two images are joined when their files are equal, or when their hashes differ in at most `distance`
    bits and their thumbnails correlate above `correlation`. Rows without an image are not compared. The second value
    counts the rows whose file is exactly that of an earlier row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = Images(cohort, field, channels=1)
    out = np.full(len(cohort), -1, dtype=np.int64)
    rows = np.flatnonzero(cohort[field].is_not_null().to_numpy())
    first: dict[tuple[str, ...], int] = {}
    which = np.array([first.setdefault(images.manifest(int(row)).items, len(first)) for row in rows], dtype=np.int64)
    distinct = np.flatnonzero(np.r_[True, which[1:] > np.maximum.accumulate(which)[:-1]]) if rows.size else which
    hashes, thumbnails = signatures(images, rows[distinct])
    pairs = np.array(list(_pairs(hashes, thumbnails, distance, correlation)), dtype=np.int64).reshape(-1, 2)
    n = len(distinct)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    component = connected_components(graph, directed=False)[1][which] if n else which
    joined = np.bincount(component, minlength=1)[component] > 1 if n else np.zeros(0, dtype=bool)
    _, out[rows[joined]] = np.unique(component[joined], return_inverse=True)
    return out, len(rows) - n


def signatures(images: Images, rows: Ints) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """The hash of each row's image, shape (n,), and its band-passed thumbnail of unit length, shape (n, 4096)."""
    hashes = np.zeros(len(rows), dtype=np.uint64)
    thumbnails = np.zeros((len(rows), SIDE * SIDE), dtype=np.float32)
    for i, row in enumerate(rows):
        image = images[int(row)]
        hashes[i] = perceptual_hash(resized(image, HASH_SIDE, HASH_SIDE)[:, :, 0])
        thumbnails[i] = band_passed(resized(image, SIDE, SIDE)[:, :, 0])
    return hashes, thumbnails


def perceptual_hash(thumbnail: NDArray[np.float32]) -> np.uint64:
    """64 bits of a 32 × 32 thumbnail."""
    from scipy.fft import dctn

    lowest = dctn(thumbnail.astype(np.float64), norm="ortho")[:8, :8].ravel()
    return np.uint64(np.packbits(lowest > np.median(lowest)).view(np.uint64)[0])


def band_passed(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """What lies between two Gaussian scales, of mean 0 and length 1, flat; all 0 for an even image."""
    from scipy.ndimage import gaussian_filter

    band = gaussian_filter(thumbnail, FINE) - gaussian_filter(thumbnail, COARSE)
    band = (band - band.mean()).ravel()
    length = float(np.linalg.norm(band))
    return (band / length if length > 1e-4 else np.zeros_like(band)).astype(np.float32)


def _pairs(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.float32], distance: int, correlation: float
) -> Iterator[tuple[int, int]]:
    """Positions of the pairs that the hash proposes and the correlation confirms."""
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        apart = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        left, right = np.nonzero(np.triu(apart <= distance, 1))
        for piece in range(0, len(left), _BLOCK):
            a, b = start + left[piece : piece + _BLOCK], start + right[piece : piece + _BLOCK]
            alike = np.einsum("ij,ij->i", thumbnails[a], thumbnails[b]) > correlation
            yield from zip(a[alike].tolist(), b[alike].tolist(), strict=True)
