"""Policies: named sets of gates, and the grammar in which a plan writes gates.

`auroc: {at_least: 0.85}`, `calibration_slope: {between: [0.8, 1.2]}`, `brier: {at_most: 0.1}`,
`worst_group: {sensitivity: 0.85}`, `beats: {auroc: logistic}`, `policy: diagnostic-image`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedside.errors import PlanError
from bedside.evidence.gates import Gate
from bedside.evidence.glossary import term

# The project's requirement for a diagnostic image model; aspired values are reported, not judged.
POLICIES: dict[str, dict[str, Any]] = {
    "diagnostic-image": {
        "sensitivity": {"at_least": 0.95},
        "specificity": {"at_least": 0.85},
        "auroc": {"at_least": 0.90},
    },
    "risk-model": {
        "auroc": {"at_least": 0.75},
        "calibration_slope": {"between": [0.8, 1.2]},
        "oe_ratio": {"between": [0.8, 1.25]},
    },
    "low-risk-autonomous": {
        "auroc": {"at_least": 0.85},
        "sensitivity": {"at_least": 0.90},
        "calibration_slope": {"between": [0.8, 1.2]},
        "oe_ratio": {"between": [0.8, 1.25]},
    },
}
# The policies under which, every gate passed and the task's risk low, a release may answer without a person.
AUTONOMOUS = ("low-risk-autonomous",)


def allows_autonomous(gates: Mapping[str, Any]) -> bool:
    """Whether a plan's `gates:` name a policy that says a release may answer without a person."""
    return gates.get("policy") in AUTONOMOUS


def expand(gates: Mapping[str, Any]) -> list[Gate]:
    """The gates that a plan's `gates:` declares; raises PlanError for an unknown metric, policy or word."""
    out: list[Gate] = []
    for name, value in gates.items():
        if name == "policy":
            if value not in POLICIES:
                raise PlanError(f"no policy is called '{value}'", "known: " + ", ".join(POLICIES))
            out.extend(expand(POLICIES[value]))
        elif name == "worst_group":
            out.extend(_bounds(metric, each, each_group=True) for metric, each in _mapping(name, value).items())
        elif name == "beats":
            for metric, baseline in _mapping(name, value).items():
                if _direction(metric) == "lower":
                    out.append(Gate(metric, high=0.0, versus=str(baseline)))
                else:
                    out.append(Gate(metric, low=0.0, versus=str(baseline)))
        else:
            out.append(_bounds(name, value))
    ids = [gate.id for gate in out]
    for each in ids:
        if ids.count(each) > 1:
            raise PlanError(f"the gate '{each}' is declared twice", "keep one")
    return out


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlanError(f"'{name}' takes a mapping of metrics", f"write {name}: {{sensitivity: 0.85}}")
    return value


def _direction(metric: str) -> str:
    try:
        found = term(metric)
    except KeyError:
        raise PlanError(f"no metric is called '{metric}'", "see `bedside glossary`") from None
    if found.kind != "metric":
        raise PlanError(f"'{metric}' is a {found.kind}, not a metric", "gates judge metrics")
    return found.direction or "none"


def _bounds(metric: str, value: Any, *, each_group: bool = False) -> Gate:
    direction = _direction(metric)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if direction == "lower":
            return Gate(metric, high=float(value), each_group=each_group)
        if direction == "higher":
            return Gate(metric, low=float(value), each_group=each_group)
        raise PlanError(
            f"gate on '{metric}': a bare number does not say which side is good", "write between: [low, high]"
        )
    if not isinstance(value, Mapping):
        raise PlanError(f"gate on '{metric}': {value!r} is no threshold", f"write {metric}: {{at_least: 0.8}}")
    rest = dict(value)
    low, high = rest.pop("at_least", None), rest.pop("at_most", None)
    between = rest.pop("between", None)
    if between is not None:
        if not (isinstance(between, list | tuple) and len(between) == 2):
            raise PlanError(f"gate on '{metric}': between takes two numbers", "write between: [0.8, 1.2]")
        low, high = between
    at = rest.pop("at", None)
    if rest:
        raise PlanError(f"gate on '{metric}': unknown word {sorted(rest)}", "at_least, at_most, between, at")
    for bound in (low, high):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise PlanError(f"gate on '{metric}': {bound!r} is not a number")
    low = None if low is None else float(low)
    return Gate(metric, low, None if high is None else float(high), each_group=each_group, at=at)
