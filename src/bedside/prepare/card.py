"""The dataset card: what a cohort holds, field by field, as Evidence that names no patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.evidence.estimate import Estimate, Evidence, Figure, Finding
from bedside.prepare.image_card import describe_images

PART = "cohort"

# Doubts of a reader that a person should settle before trusting a model.
_CAUTIONS = ("decimal_comma", "number_but_for", "row_number")


def describe(cohort: Cohort, *, shown: int = 50, fewest: int = 10, bins: int = 20) -> Evidence:
    """Rows, subjects, and for the first `shown` fields the share missing and the distribution; the reader's doubts.

    A number is told by its quartiles and a histogram between its 1st and 99th percentile, a category by the shares of
    its levels. What fewer than `fewest` rows hold is not told: rare levels are pooled, thin fields get a reason why
    not. An image is told by brightness, border and marks in its corners (`image_card`). Times and texts get their share
    missing only.
    """
    n = len(cohort)
    estimates = [_exact("cohort_rows", n, n, unit="1"), _exact("cohort_subjects", cohort.n_subjects, n, unit="1")]
    figures: list[Figure] = []
    findings = doubts(cohort)
    for item in cohort.schema.fields[:shown]:
        column = cohort.frame[item.name]
        there = column.drop_nulls()
        if n:
            estimates.append(_exact("missing_share", column.null_count() / n, n, field=item.name))
        if item.kind == "number":
            found, figure = _number(item, there.to_numpy(), fewest, bins)
        elif item.kind in ("category", "ordinal", "boolean"):
            found, figure = _levels(item, there, fewest)
        elif item.kind == "image" and cohort.files is not None:
            found, hints = describe_images(cohort, item.name, part=PART, fewest=fewest)
            figure = None
            findings += hints
        else:
            continue
        estimates += found
        figures += [] if figure is None else [figure]
    return Evidence("describe", tuple(estimates), tuple(figures), tuple(findings))


def doubts(cohort: Cohort) -> list[Finding]:
    """What readers doubted while reading this cohort, from its lineage, of the fields that are still there."""
    out = []
    for origin in cohort.lineage:
        for doubt in origin.parameters.get("doubts", ()):
            if doubt["column"] in cohort.schema:
                severity = "caution" if doubt["doubt"] in _CAUTIONS else "info"
                out.append(Finding(f"doubt_{doubt['doubt']}", severity, _values(doubt)))
    return out


def _values(doubt: Mapping[str, Any]) -> dict[str, Any]:
    values = {"field": doubt["column"], "count": doubt.get("count"), "levels": doubt.get("levels")}
    values["shapes"] = ", ".join(doubt["shapes"]) if "shapes" in doubt else None
    return {key: value for key, value in values.items() if value is not None}


def _number(item: Field, values: NDArray[np.float64], fewest: int, bins: int) -> tuple[list[Estimate], Figure | None]:
    if len(values) < fewest:
        why = Estimate(
            "field_median", None, n_rows=len(values), part=PART, at={"field": item.name}, why_not="too_few_rows"
        )
        return [why], None
    names = ("field_quartile_low", "field_median", "field_quartile_high")
    quartiles = np.quantile(values, (0.25, 0.5, 0.75))
    estimates = [
        _exact(name, value, len(values), unit=item.unit, field=item.name)
        for name, value in zip(names, quartiles, strict=True)
    ]
    low, high = np.quantile(values, (0.01, 0.99))
    if low == high:
        return estimates, None
    counts, edges = np.histogram(values[(values >= low) & (values <= high)], bins=bins, range=(low, high))
    counts = np.where(counts < fewest, 0, counts)
    columns: dict[str, list[Any]] = {
        "field": [item.name] * bins,
        "from": [float(edge) for edge in edges[:-1]],
        "to": [float(edge) for edge in edges[1:]],
        "rows": [int(count) for count in counts],
    }
    return estimates, Figure(
        "field_distribution", "histogram", columns, {"low": "from", "high": "to", "y": "rows"}, PART
    )


def _levels(item: Field, there: pl.Series, fewest: int) -> tuple[list[Estimate], Figure | None]:
    counts = dict(there.cast(pl.String).value_counts().iter_rows())
    order = {level: i for i, level in enumerate(item.levels or ())}
    told = sorted(
        (level for level, count in counts.items() if count >= fewest),
        key=lambda level: (order.get(level, len(order)), -counts[level], level),
    )
    if not told:
        return [], None
    rest = len(there) - sum(counts[level] for level in told)
    rows = [(level, counts[level]) for level in told] + ([("other", rest)] if rest >= fewest else [])
    estimates = [
        _exact("field_level_share", count / len(there), len(there), field=item.name, level=level)
        for level, count in rows
    ]
    columns = {"field": [item.name] * len(rows), "level": [r[0] for r in rows], "rows": [r[1] for r in rows]}
    return estimates, Figure("field_distribution", "bar", columns, {"x": "rows", "y": "level"}, PART)


def _exact(metric: str, value: float, n: int, *, unit: str | None = None, **at: str) -> Estimate:
    return Estimate(metric, float(value), n_rows=n, part=PART, at=at, unit=unit, exact=True)
