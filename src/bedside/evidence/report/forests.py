"""Forest plots made from the estimates of groups."""

from __future__ import annotations

from collections.abc import Sequence

from bedside.evidence.estimate import Estimate, Figure, Scalar
from bedside.evidence.report.words import clean


def forests(estimates: Sequence[Estimate], whole: Sequence[Estimate]) -> list[Figure]:
    """One figure a metric: every group with an interval, and over them the estimate of `whole` over all rows."""
    metrics = dict.fromkeys(_key(item) for item in estimates if _plotted(item))
    return [
        _forest(key, [item for item in estimates if _plotted(item) and _key(item) == key], whole) for key in metrics
    ]


def _plotted(item: Estimate) -> bool:
    return item.group is not None and item.versus is None and item.value is not None and item.low is not None


def _key(item: Estimate) -> tuple[str, str, tuple[tuple[str, Scalar], ...]]:
    """What makes estimates comparable: metric, part, and what they are taken at."""
    return item.metric, item.part, tuple(sorted((item.at or {}).items()))


def _forest(
    key: tuple[str, str, tuple[tuple[str, Scalar], ...]], groups: Sequence[Estimate], whole: Sequence[Estimate]
) -> Figure:
    overall = [item for item in whole if item.group is None and item.versus is None and _key(item) == key][:1]
    lines = [*overall, *groups]
    label = dict(key[2]).get("label")
    labels = ["overall"] * len(overall) + [_name(item) for item in groups]
    return Figure(
        "forest",
        "forest",
        {
            **({} if label is None else {"label": [label] * len(lines)}),
            "group": labels,
            key[0]: [item.value for item in lines],
            "low": [item.low for item in lines],
            "high": [item.high for item in lines],
            "n": [item.n_rows for item in lines],
        },
        {"y": "group", "x": key[0], "low": "low", "high": "high"},
        part=key[1],
    )


def _name(item: Estimate) -> str:
    return ", ".join(f"{clean(field)} = {clean(value)}" for field, value in (item.group or {}).items())
