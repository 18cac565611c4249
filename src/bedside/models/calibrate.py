"""Calibration: raw class probabilities to calibrated ones, learnt on rows that no model has seen.

Two classes: a map of the positive class's probability. More: one map a class against the rest, then rows summed to 1
(Zadrozny, Elkan 2002), or one temperature for all (Guo 2017). Saved as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.plugins import parse_spec
from bedside.errors import DataError, PlanError
from bedside.evidence.estimate import Finding
from bedside.models.maps import EDGE, MAPS, Array, Map, Sigmoid, map_from_json
from bedside.models.task import Classify

METHODS = ("intercept", "sigmoid", "isotonic", "beta", "temperature", "none", "auto")
MIN_EVENTS = 10


@dataclass(frozen=True)
class Calibration:
    """A fitted calibrator: its method, one map (two classes) or one a class, or a temperature, and what it saw."""

    method: str
    maps: tuple[Map, ...] = ()
    temperature: float | None = None
    n_rows: int = 0
    n_events: int = 0

    def apply(self, p: Array) -> Array:
        """Calibrated class probabilities of raw ones, both of shape (rows, classes) and summing to 1."""
        if self.temperature is not None:
            return _softmax(np.log(np.clip(p, EDGE, 1.0)) / self.temperature)
        if not self.maps:
            return p
        if p.shape[1] == 2:
            positive = self.maps[0](p[:, 1])
            return np.column_stack([1 - positive, positive])
        each = np.column_stack([item(p[:, k]) for k, item in enumerate(self.maps)])
        total = each.sum(axis=1, keepdims=True)
        # Isotonic maps may say 0 of every class: then nothing was learnt about such a row and the raw ones stay.
        return np.where(total > 0, each / np.where(total > 0, total, 1.0), p)

    def to_json(self) -> dict[str, Any]:
        """A JSON object (`format` 1)."""
        return {
            "format": 1,
            "method": self.method,
            "maps": [{"name": item.name, **item.to_json()} for item in self.maps],
            "temperature": self.temperature,
            "n_rows": self.n_rows,
            "n_events": self.n_events,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_json`; raises DataError for another format."""
        if data.get("format") != 1:
            raise DataError(f"calibration format {data.get('format')!r} is not known", "read it with a newer bedside")
        maps = tuple(
            map_from_json(item["name"], {key: value for key, value in item.items() if key != "name"})
            for item in data["maps"]
        )
        temperature = None if data["temperature"] is None else float(data["temperature"])
        return cls(data["method"], maps, temperature, int(data["n_rows"]), int(data["n_events"]))


def method_of(spec: Any) -> tuple[str, bool]:
    """The method a spec names, and whether it may do without where there are too few events (`auto`, which is the
    sigmoid, or {auto: a method}); raises PlanError for an unknown one."""
    name, parameters = parse_spec("none" if spec is None else spec)
    automatic = name == "auto"
    if automatic:
        name = parameters.pop("main", "sigmoid")
    if name not in METHODS or name == "auto" or parameters:
        raise PlanError(f"calibration {spec!r} is not known", "one of " + ", ".join(METHODS) + ", or {auto: one}")
    return name, automatic


def fit_calibration(
    spec: Any, p: Array, y: NDArray[np.int64], task: Classify, w: Array | None = None
) -> tuple[Calibration, tuple[Finding, ...]]:
    """Learn from raw probabilities (rows, classes), class codes (rows,) and weights (rows,), whose scale is nothing.

    A row of weight 0 has no say. Counts are of rows with a say.

    Raises DataError, with the n, when a class has fewer than 10 rows (for a temperature: the classes beside the most
    frequent together); `auto` then calibrates nothing and says so in a finding. Of three or more classes `auto` is a
    temperature, and {auto: intercept} nothing.
    """
    method, automatic = method_of(spec)
    if method == "none" or (automatic and method == "intercept" and not task.binary):
        return Calibration("none"), ()
    if w is not None:
        kept = w > 0
        p, y, w = p[kept], y[kept], w[kept] / w[kept].mean()
    counts = np.bincount(y, minlength=len(task.classes))
    if automatic and method == "sigmoid" and not task.binary:
        method = "temperature"
    events = int(counts.sum() - counts.max()) if method == "temperature" else int(counts.min())
    if events < MIN_EVENTS:
        if automatic:
            return Calibration("none"), (
                Finding("calibration_skipped", "caution", {"n_events": events, "needed": MIN_EVENTS}),
            )
        rarest = task.classes[int(counts.argmin())]
        raise DataError(
            f"calibration by {method} needs {MIN_EVENTS} rows of each class; the part it learns from has {events} of "
            f"'{rarest}' among {len(y)} rows",
            "give a larger tune part, or say calibration: auto (none when there are too few) or none",
        )
    if method == "temperature":
        return Calibration(method, (), _temperature(p, y, w), len(y), events), ()
    kind = MAPS[method]
    if task.binary:
        maps = (kind.fit(p[:, 1], y, w),)
    else:
        maps = tuple(kind.fit(p[:, k], (y == k).astype(np.int64), w) for k in range(len(task.classes)))
    flat = [item for item in maps if isinstance(item, Sigmoid) and item.slope == 0]
    findings = (Finding("calibration_flat", "caution", {"n_events": events}),) if flat else ()
    return Calibration(method, maps, None, len(y), events), findings


def _temperature(p: Array, y: NDArray[np.int64], w: Array | None) -> float:
    """The temperature in [e⁻⁵, e⁵] of least log loss. The loss is convex in 1 / T; found by golden section on ln T."""
    from scipy.optimize import minimize_scalar

    w = np.ones(len(y)) if w is None else w
    order = np.lexsort((w, *p.T, y))
    z, y, w = np.log(np.clip(p[order], EDGE, 1.0)), y[order], w[order]

    def loss(log_t: float) -> float:
        right = _softmax(z / np.exp(log_t))[np.arange(len(y)), y]
        return float(-(w * np.log(np.clip(right, EDGE, 1))).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-10}).x))


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    found: Array = e / e.sum(axis=1, keepdims=True)
    return found
