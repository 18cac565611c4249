"""From intervals to estimates: the one place where a check writes down a number, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.metrics.interval import Interval, Refused

FEWEST_EVENTS = 10  # of each class, below which a group is refused (DESIGN §4, rule 2)

# What the metrics say when a value cannot be known, as glossary ids.
REASONS = (
    ("one class", "why_one_class"),
    ("one label or one call", "why_one_class"),
    ("one subject", "why_one_subject"),
    ("separates", "why_separated"),
    ("constant", "why_constant"),
    ("the same", "why_constant"),
    ("no row is called", "why_none_called"),
    ("every row is called", "why_all_called"),
    ("no row", "why_no_rows"),
    ("exact", "why_exact"),
    ("no event", "why_no_events"),
    ("few events", "why_too_few_events"),
)


def reason(text: str) -> str:
    """The glossary id of a metric's reason; `not_estimable` for one without an id of its own."""
    return next((key for words, key in REASONS if words in text), "not_estimable")


def estimate(metric: str, found: Interval | Refused, level: float, **more: Any) -> Estimate:
    """An estimate of an interval or refusal; `more` are further attributes of Estimate and win over the interval's."""
    counts: dict[str, Any] = {"n_rows": found.n_rows, "n_subjects": found.n_subjects}
    if isinstance(found, Refused):
        return Estimate(metric, None, why_not=reason(found.reason), **{**counts, **more})
    if not np.isfinite([found.value, found.low, found.high]).all():
        return Estimate(metric, None, why_not="not_estimable", **{**counts, **more})
    return Estimate(metric, found.value, found.low, found.high, level, method=found.method, **{**counts, **more})


def attempt(
    metric: str, compute: Callable[[], Interval], level: float, *, otherwise: Mapping[str, int], **more: Any
) -> Estimate:
    """The estimate of what `compute` returns, or a refusal with the reason that it raises (ValueError).

    `otherwise` are the n_rows and n_subjects of a refusal.
    """
    try:
        return estimate(metric, compute(), level, **more)
    except ValueError as error:
        return Estimate(metric, None, why_not=reason(str(error)), **{**otherwise, **more})


def exact(metric: str, value: float, *, method: str = "exact_count", **more: Any) -> Estimate:
    """A number that is counted, or computed by a formula, not estimated."""
    return Estimate(metric, float(value), exact=True, method=method, **more)


def column(values: Sequence[float] | NDArray[Any]) -> list[Any]:
    """A figure's column: plain numbers, rounded to 12 significant digits so that it reads; NaN becomes missing."""
    out: list[Any] = []
    for value in np.asarray(values).tolist():
        if isinstance(value, float):
            out.append(float(f"{value:.12g}") if np.isfinite(value) else None)
        else:
            out.append(value)
    return out


def finding(key: str, severity: str = "info", **values: Any) -> Finding:
    """A finding with its values as plain scalars."""
    return Finding(key, severity, plain(values))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without numpy types."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}


def two_classes_only(check: str) -> Evidence:
    """The evidence of a check of two classes on another task: that it does not apply."""
    return Evidence(check, findings=(finding("check_needs_two_classes", "info", check=check),))
