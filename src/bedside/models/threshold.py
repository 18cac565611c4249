"""Threshold: from which probability on the positive class is called, chosen on rows that no model has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.plugins import parse_spec
from bedside.errors import DataError, PlanError
from bedside.models.task import Classify

Array = NDArray[np.float64]
RULES = {
    "youden": None,
    "sensitivity": "at_least",
    "specificity": "at_least",
    "cost": None,
    "value": "value",
    "net_benefit": "at",
}


@dataclass(frozen=True)
class Threshold:
    """A row is called positive when p ≥ `value`. `rule` and `at` say how it was chosen, the rest what it then gave.

    `sensitivity` and `specificity` are those of the rows it was chosen on (`n_rows`, of which `n_events`), optimistic
    and never reported as performance; None when there was no such class.
    """

    value: float
    rule: str
    at: float | None = None
    n_rows: int = 0
    n_events: int = 0
    sensitivity: float | None = None
    specificity: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object (`format` 1)."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Threshold:
        """The inverse of `to_json`; raises DataError for another format."""
        if data.get("format") != 1:
            raise DataError(f"threshold format {data.get('format')!r} is not known", "read it with a newer bedside")
        return cls(**{key: value for key, value in data.items() if key != "format"})


def rule_of(spec: Any) -> tuple[str, float | None]:
    """Rule and its number: "youden", 0.2, {sensitivity: 0.95}, or {choose: sensitivity, at_least: 0.95, on: tune}."""
    if isinstance(spec, int | float) and not isinstance(spec, bool):
        spec = {"value": spec}
    if isinstance(spec, Mapping) and "choose" in spec:
        if spec.get("on", "tune") != "tune":
            raise PlanError(f"a threshold is chosen on the tune part, not on '{spec['on']}'", "say on: tune")
        parameters = {key: value for key, value in spec.items() if key not in ("choose", "on")}
        name = str(spec["choose"])
    else:
        name, parameters = parse_spec(spec)
    if name not in RULES:
        raise PlanError(f"threshold rule '{name}' is not known", "one of " + ", ".join(RULES))
    wanted = RULES[name]
    if "main" in parameters and wanted is not None:
        parameters = {wanted: parameters["main"]}
    if set(parameters) != ({wanted} if wanted is not None else set()):
        needs = f"needs {wanted}: a number" if wanted is not None else "takes no parameter"
        raise PlanError(f"threshold rule '{name}' {needs}, not {parameters or 'nothing'}")
    if wanted is None:
        return name, None
    at = parameters[wanted]
    if (
        isinstance(at, bool)
        or not isinstance(at, int | float)
        or not 0 < at <= 1
        or (name == "net_benefit" and at == 1)
    ):
        raise PlanError(f"threshold rule '{name}': {wanted} must be a number above 0 and at most 1, not {at!r}")
    return name, float(at)


def choose(spec: Any, p: Array, y: NDArray[np.int64], task: Classify, w: Array | None = None) -> Threshold:
    """The threshold of a rule on probabilities of the positive class, outcomes 0/1 and weights, all of shape (rows,).

    A weight (None: 1 each) counts as so many equal rows; a row of weight 0 has no say.

    `youden`: most sensitivity + specificity; `sensitivity`: the highest that keeps at least so much; `specificity`: the
    lowest that does; `cost`: c_fp / (c_fp + c_fn) of the task; `net_benefit`: the most net benefit at that threshold
    probability (Vickers 2006); `value`: the number. Among equals the lowest, the more sensitive. Raises DataError when
    the rule needs a class that is not there, PlanError for `cost` without costs.
    """
    rule, at = rule_of(spec)
    w = np.ones(len(y)) if w is None else w
    p, y, w = p[w > 0], y[w > 0], w[w > 0]
    if rule == "value" and at is not None:
        return _described(at, rule, at, p, y, w)
    if rule == "cost":
        if task.costs is None:
            raise PlanError("threshold: cost needs the task's costs", "declare task.costs")
        fp, fn = float(task.costs["false_positive"]), float(task.costs["false_negative"])
        if not (fp > 0 and fn > 0):
            raise PlanError("costs of a false positive and a false negative must be above 0")
        return _described(fp / (fp + fn), rule, None, p, y, w)
    positive, negative = float(w[y == 1].sum()), float(w[y != 1].sum())
    if positive == 0 or negative == 0:
        raise DataError(
            f"a threshold by {rule} needs both classes; the {len(y)} rows it is chosen on have {int(y.sum())} events",
            "give a larger tune part, or a fixed value",
        )
    cuts, tp, fp_count = _counts(p, y, w)
    if rule == "youden":
        best = int((tp * negative - fp_count * positive).argmax())  # whole numbers, so that equals are equal
    elif rule == "sensitivity":
        best = int(np.flatnonzero(tp >= _share(at, positive)).max())
    elif rule == "specificity":
        best = int(np.flatnonzero(negative - fp_count >= _share(at, negative)).min())
    else:
        odds = float(at or 0.0) / (1 - float(at or 0.0))
        best = int((tp - fp_count * odds).argmax())
    return _described(float(cuts[best]), rule, at, p, y, w)


def _counts(p: Array, y: NDArray[np.int64], w: Array) -> Any:
    """Ascending cuts (each value seen, and one just above the last), with the weight of events and others from each."""
    cuts, index = np.unique(p, return_inverse=True)
    events = np.bincount(index, weights=w * y, minlength=len(cuts))
    others = np.bincount(index, weights=w * (1 - y), minlength=len(cuts))
    tp = np.append(events[::-1].cumsum()[::-1], 0.0)
    fp = np.append(others[::-1].cumsum()[::-1], 0.0)
    return np.append(cuts, math.nextafter(float(cuts[-1]), math.inf)), tp, fp


def _share(share: float | None, total: float) -> float:
    """What is at least this share of the total, free of rounding: 19 is 0.95 of 20."""
    return float(share or 0.0) * total * (1 - 1e-12)


def _described(value: float, rule: str, at: float | None, p: Array, y: NDArray[np.int64], w: Array) -> Threshold:
    positive, negative = float(w[y == 1].sum()), float(w[y != 1].sum())
    called = p >= value
    return Threshold(
        value,
        rule,
        at,
        len(y),
        int(y.sum()),
        float(w[called & (y == 1)].sum()) / positive if positive else None,
        float(w[~called & (y == 0)].sum()) / negative if negative else None,
    )
