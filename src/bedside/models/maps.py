"""Calibration maps: non-decreasing functions from a probability to a better one, each a few numbers.

All are fitted to (p, y, w) sorted, so that the order of rows does not matter. A weight w counts as so many equal rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bedside.evidence.metrics.calibration import logit

Array = NDArray[np.float64]
EDGE = 1e-12
_STEPS = 100


class Map(Protocol):
    """A calibration map of one probability."""

    name: ClassVar[str]

    @classmethod
    def fit(cls, p: Array, y: NDArray[np.int64], w: Array | None = None) -> Self:
        """Learn from probabilities, outcomes 0/1 and weights above 0 (None: 1 each), all of shape (rows,)."""
        ...

    def __call__(self, p: Array) -> Array:
        """Calibrated probabilities, shape (rows,), in [0, 1]."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The numbers, as JSON."""
        ...


@dataclass(frozen=True)
class Intercept:
    """logit p′ = logit p + intercept: recalibration in the large. Source: Steyerberg 2004 (update method 1)."""

    name: ClassVar[str] = "intercept"
    intercept: float

    @classmethod
    def fit(cls, p: Array, y: NDArray[np.int64], w: Array | None = None) -> Self:
        """Maximum likelihood: the mean of the calibrated probabilities is the event rate (of two classes)."""
        p, y, w = _sorted(p, y, w)
        (found,) = logistic(np.ones((len(p), 1)), y.astype(np.float64), w, start=(0.0,), offset=logit(p, EDGE))
        return cls(float(found))

    def __call__(self, p: Array) -> Array:
        """Calibrated probabilities."""
        return expit(logit(p, EDGE) + self.intercept)

    def to_json(self) -> dict[str, Any]:
        """The intercept."""
        return {"intercept": self.intercept}


@dataclass(frozen=True)
class Sigmoid:
    """logit p′ = slope · logit p + intercept, slope ≥ 0. Source: Platt 1999, with his smoothed targets."""

    name: ClassVar[str] = "sigmoid"
    slope: float
    intercept: float

    @classmethod
    def fit(cls, p: Array, y: NDArray[np.int64], w: Array | None = None) -> Self:
        """Maximum likelihood; where the best slope is negative, 0 (which predicts the event rate)."""
        p, y, w = _sorted(p, y, w)
        z = logit(_within_reach(p, w), EDGE)
        t = targets(y, w)
        slope, intercept = logistic(np.column_stack([z, np.ones_like(z)]), t, w, start=(1.0, 0.0))
        if slope < 0:
            slope, intercept = 0.0, float(logit(np.average(t, weights=w), EDGE))
        return cls(float(slope), float(intercept))

    def __call__(self, p: Array) -> Array:
        """Calibrated probabilities."""
        return expit(self.slope * logit(p, EDGE) + self.intercept)

    def to_json(self) -> dict[str, Any]:
        """Slope and intercept."""
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class Beta:
    """logit p′ = a · ln p − b · ln(1 − p) + c, a, b ≥ 0. Source: Kull, Silva Filho, Flach 2017 (AISTATS)."""

    name: ClassVar[str] = "beta"
    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, p: Array, y: NDArray[np.int64], w: Array | None = None) -> Self:
        """Maximum likelihood; a coefficient that comes out negative is set to 0 and the others are fitted again."""
        p, y, w = _sorted(p, y, w)
        p, t = _within_reach(p, w), targets(y, w)
        columns = np.column_stack([_log(p), -_log(1 - p), np.ones_like(p)])
        kept = [0, 1, 2]
        while True:
            found = logistic(columns[:, kept], t, w, start=[1.0] * (len(kept) - 1) + [0.0])
            negative = [i for i, value in zip(kept[:-1], found[:-1], strict=True) if value < 0]
            if not negative:
                values = np.zeros(3)
                values[kept] = found
                return cls(*(float(value) for value in values))
            kept.remove(negative[0])

    def __call__(self, p: Array) -> Array:
        """Calibrated probabilities."""
        return expit(self.a * _log(p) - self.b * _log(1 - p) + self.c)

    def to_json(self) -> dict[str, Any]:
        """The three coefficients."""
        return {"a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True)
class Isotonic:
    """The best non-decreasing step function, joined by lines. Source: Zadrozny, Elkan 2002; flat beyond its ends."""

    name: ClassVar[str] = "isotonic"
    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def fit(cls, p: Array, y: NDArray[np.int64], w: Array | None = None) -> Self:
        """Pool adjacent violators, by scikit-learn."""
        from sklearn.isotonic import IsotonicRegression

        p, y, w = _sorted(p, y, w)
        found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(p, y, sample_weight=w)
        return cls(tuple(map(float, found.X_thresholds_)), tuple(map(float, found.y_thresholds_)))

    def __call__(self, p: Array) -> Array:
        """Calibrated probabilities."""
        return np.interp(p, self.x, self.y)

    def to_json(self) -> dict[str, Any]:
        """The break points."""
        return {"x": list(self.x), "y": list(self.y)}


MAPS: dict[str, Any] = {kind.name: kind for kind in (Intercept, Sigmoid, Beta, Isotonic)}


def map_from_json(name: str, data: dict[str, Any]) -> Map:
    """The inverse of `to_json`."""
    values = {key: tuple(item) if isinstance(item, list) else float(item) for key, item in data.items()}
    found: Map = MAPS[name](**values)
    return found


def targets(y: NDArray[np.int64], w: Array) -> Array:
    """Platt's targets: (n₊ + 1) / (n₊ + 2) for events and 1 / (n₋ + 2) for the rest; they keep coefficients finite."""
    positive = float(w[y == 1].sum())
    negative = float(w[y != 1].sum())
    return np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))


def _within_reach(p: Array, w: Array) -> Array:
    """Probabilities kept as far from 0 and 1 as n rows can tell, 1 / (n + 2), like the targets.

    A forest says 0 exactly; a logit of −27 beside a target of 1 / (n + 2) would flatten the whole map.
    """
    edge = 1 / (float(w.sum()) + 2)
    return np.clip(p, edge, 1 - edge)


def logistic(x: Array, t: Array, w: Array, start: Any, offset: Array | float = 0.0) -> Array:
    """Coefficients of least weighted log loss of expit(x · β + offset) against targets in [0, 1], by damped Newton
    steps."""
    beta = np.array(start, dtype=np.float64)
    loss = _log_loss(x @ beta + offset, t, w)
    for _ in range(_STEPS):
        p = expit(x @ beta + offset)
        gradient = x.T @ (w * (p - t))
        if np.abs(gradient).max() < 1e-10 * w.sum():
            break
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x
        step = np.linalg.pinv(hessian, hermitian=True) @ gradient
        size = 1.0
        while (lower := _log_loss(x @ (beta - size * step) + offset, t, w)) > loss and size > 1e-10:
            size /= 2
        if size <= 1e-10:
            break
        beta, loss = beta - size * step, lower
    return beta


def expit(z: Any) -> Array:
    """1 / (1 + exp(−z)), without overflow."""
    p: Array = 0.5 * (1 + np.tanh(0.5 * np.asarray(z, dtype=np.float64)))
    return p


def _log_loss(z: Array, t: Array, w: Array) -> float:
    return float(np.sum(w * (np.logaddexp(0, z) - t * z)))


def _log(p: Array) -> Array:
    return np.log(np.clip(p, EDGE, 1.0))


def _sorted(p: Array, y: NDArray[np.int64], w: Array | None) -> tuple[Array, NDArray[np.int64], Array]:
    w = np.ones(len(p)) if w is None else np.asarray(w, dtype=np.float64)
    order = np.lexsort((w, y, p))
    return np.asarray(p, dtype=np.float64)[order], np.asarray(y)[order], w[order]
