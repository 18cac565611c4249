"""What every metric needs of its rows: checked labels, scores and weights, and sums by subject.

Shapes: every array is one-dimensional with one entry a row. A subject code is an integer ≥ 0; without codes every row
is its own subject.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def labels(y: ArrayLike) -> Bools:
    """Checked 0/1 labels as booleans. Raises ValueError when empty, not 1-D or other than 0 and 1."""
    array = np.asarray(y)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"labels must be one non-empty column, not shape {array.shape}")
    if array.dtype == np.bool_:
        return np.asarray(array, dtype=np.bool_)
    if array.dtype.kind not in "iuf" or not bool(np.all((array == 0) | (array == 1))):
        raise ValueError("labels must be 0 or 1, none missing")
    return np.asarray(array == 1, dtype=np.bool_)


def numbers(x: ArrayLike, n: int, name: str) -> Floats:
    """Checked finite numbers of length n as float64. Raises ValueError."""
    array = np.asarray(x)
    if array.shape != (n,):
        raise ValueError(f"{name}: shape {array.shape} where ({n},) is needed")
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{name} must be numbers")
    floats = array.astype(np.float64, copy=False)
    if not bool(np.isfinite(floats).all()):
        raise ValueError(f"{name} holds missing or infinite values")
    return floats


def probabilities(p: ArrayLike, n: int, name: str = "probabilities") -> Floats:
    """Checked probabilities of length n. Raises ValueError outside [0, 1]."""
    floats = numbers(p, n, name)
    if bool(floats.min() < 0) or bool(floats.max() > 1):
        raise ValueError(f"{name} must lie in [0, 1]")
    return floats


def sample_weights(weights: ArrayLike | None, n: int) -> Floats | None:
    """Checked weights ≥ 0 with a positive sum, or None. Raises ValueError."""
    if weights is None:
        return None
    floats = numbers(weights, n, "weights")
    if bool(floats.min() < 0) or not floats.sum() > 0:
        raise ValueError("weights must be ≥ 0 and not all 0")
    return floats


def binned(codes: Ints, x: Floats, size: int = 0) -> Floats:
    """Sum of x (rows,) by code (max(size, highest code + 1),)."""
    return np.asarray(np.bincount(codes, weights=x, minlength=size), dtype=np.float64)


@dataclass(frozen=True)
class Subjects:
    """Which rows belong to one subject. `codes` is None when every row is its own subject; `count` is how many."""

    codes: Ints | None
    count: int

    @classmethod
    def of(cls, subject: ArrayLike | None, n: int) -> Subjects:
        """From integer codes (n,), or None. Raises ValueError for a wrong shape or a negative code."""
        if subject is None:
            return cls(None, n)
        codes = np.asarray(subject)
        if codes.shape != (n,) or codes.dtype.kind not in "iu":
            raise ValueError(f"subject must be {n} integer codes, not {codes.dtype} of shape {codes.shape}")
        if n and int(codes.min()) < 0:
            raise ValueError("a row without a subject (negative code)")
        return cls._dense(codes.astype(np.int64, copy=False))

    @classmethod
    def _dense(cls, codes: Ints) -> Subjects:
        n = len(codes)
        if n and int(codes.max()) >= 4 * n:  # few rows of many subjects: small codes keep the sums short
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64, copy=False)
        count = int(np.count_nonzero(np.bincount(codes))) if n else 0
        return cls(None, n) if count == n else cls(codes, count)

    def take(self, rows: NDArray[np.int64] | Bools) -> Subjects:
        """The subjects of a subset of rows (a mask or indices)."""
        if self.codes is None:
            return Subjects(None, int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows))
        return Subjects._dense(self.codes[rows])

    def sums(self, x: Floats) -> Floats:
        """Sum of x (rows,) by subject; x itself when every row is its own subject."""
        return x if self.codes is None else binned(self.codes, x)

    def se(self, influence: Floats) -> float:
        """Standard error of an estimator from its influence a row (rows,), the subject being the unit.

        sqrt(I/(I-1) Σ_subjects (Σ_rows influence)²). Raises ValueError with a single subject.
        """
        if self.count < 2:
            raise ValueError("one subject only: no interval can be known")
        total = self.sums(influence)
        return float(np.sqrt(np.einsum("i,i->", total, total) * self.count / (self.count - 1)))

    def covariance(self, influences: Floats) -> Floats:
        """Covariance (k, k) of k estimators from their influences (k, rows), the subject being the unit."""
        if self.count < 2:
            raise ValueError("one subject only: no interval can be known")
        totals = influences if self.codes is None else np.stack([self.sums(row) for row in influences])
        return np.asarray(np.einsum("ik,jk->ij", totals, totals) * (self.count / (self.count - 1)), dtype=np.float64)

    @property
    def suffix(self) -> str:
        """The method suffix: `_clustered` when some subject has several rows."""
        return "" if self.codes is None else "_clustered"


def both_classes(y: Bools, weights: Floats | None = None) -> tuple[float, float]:
    """(weight of) rows with and without the event. Raises ValueError when one class is absent."""
    if weights is None:
        with_event = float(np.count_nonzero(y))
        without = float(len(y)) - with_event
    else:
        with_event = float(weights[y].sum())
        without = float(weights[~y].sum())
    if with_event <= 0 or without <= 0:
        raise ValueError("one class only: rows " + ("without" if with_event <= 0 else "with") + " the event alone")
    return with_event, without
