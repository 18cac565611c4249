"""Estimate and Evidence: what is known, with n and interval, in no language and at no time.

Evidence is canonical JSON (RFC 8785): no time, host or path in the body. Metric, method, finding and figure ids are
terms of the glossary, so a report can be read in any language.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bedside.cohort.digest import json_digest
from bedside.errors import DataError

Scalar = str | int | float | bool | None


def _flat(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if not data else {str(key): data[key] for key in sorted(data)}


@dataclass(frozen=True)
class Estimate:
    """One number with all that is needed to read it.

    `value` is None when it cannot be known, and `why_not` then says why. `low`..`high` is the interval at `level`
    (absent only when `exact`). `n_rows`, `n_subjects` count what the number rests on (positives for a sensitivity),
    `n_events` the events among the rows of the part. `group` maps sensitive fields to their value, `at` holds
    threshold, time or class, `versus` names what a difference is taken against. `unit` is UCUM.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n_subjects: int | None = None
    n_rows: int | None = None
    n_events: int | None = None
    part: str = "test"
    group: Mapping[str, str] | None = None
    at: Mapping[str, Scalar] | None = None
    versus: str | None = None
    method: str | None = None
    unit: str | None = None
    exact: bool = False
    why_not: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None:
                number = float(number)
                if not math.isfinite(number):
                    raise ValueError(f"{self.metric}: {name} is {number}; give None and why_not")
                object.__setattr__(self, name, number)
        for name in ("n_subjects", "n_rows", "n_events"):
            count = getattr(self, name)
            if count is not None:
                object.__setattr__(self, name, int(count))
        object.__setattr__(self, "group", _flat(self.group))
        object.__setattr__(self, "at", _flat(self.at))
        if self.value is None and self.why_not is None:
            raise ValueError(f"{self.metric}: no value and no why_not")
        if self.value is not None and not self.exact:
            if self.low is None or self.high is None or self.level is None:
                raise ValueError(f"{self.metric}: a number without an interval must be exact")
            if self.n_rows is None:
                raise ValueError(f"{self.metric}: a number without n")

    def to_json(self) -> dict[str, Any]:
        """A JSON object without the attributes that are None."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not (item.name == "exact" and value is False):
                out[item.name] = dict(value) if isinstance(value, Mapping) else value
        out.setdefault("value", None)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The inverse of `to_json`."""
        return cls(**data)


@dataclass(frozen=True)
class Figure:
    """A figure as a tidy table, drawn when rendered.

    `kind` is how it is drawn (line, band, bar, histogram, forest, scatter, steps, images), `columns` maps a column's
    name to its values, all of one length; `axes` names the columns on x, y, low, high, series. `id` is a glossary term.
    """

    id: str
    kind: str
    columns: Mapping[str, Sequence[Scalar]]
    axes: Mapping[str, str]
    part: str = "test"

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"figure {self.id}: columns of different length {sorted(lengths)}")
        missing = [column for column in self.axes.values() if column not in self.columns]
        if missing:
            raise ValueError(f"figure {self.id}: axes name columns that are not there: {missing}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        columns = {name: list(values) for name, values in self.columns.items()}
        return {"id": self.id, "kind": self.kind, "columns": columns, "axes": dict(self.axes), "part": self.part}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """The inverse of `to_json`."""
        return cls(**data)


@dataclass(frozen=True)
class Finding:
    """Something known that is not a number: `id` is a glossary term whose text takes `values`.

    `severity` is info, caution or stop; `stop` breaks the integrity gate of every release stage.
    """

    id: str
    severity: str = "info"
    values: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.severity not in ("info", "caution", "stop"):
            raise ValueError(f"finding {self.id}: severity {self.severity!r}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"id": self.id, "severity": self.severity, "values": dict(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `to_json`."""
        return cls(**data)


@dataclass(frozen=True)
class Evidence:
    """What one check (or several, joined) found, and the digests of everything it came from."""

    check: str
    estimates: tuple[Estimate, ...] = ()
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return json_digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """A JSON object (`format` 1); its schema is published as docs/schemas/evidence.schema.json."""
        return {
            "format": 1,
            "check": self.check,
            "estimates": [item.to_json() for item in self.estimates],
            "figures": [item.to_json() for item in self.figures],
            "findings": [item.to_json() for item in self.findings],
            "sources": dict(sorted(self.sources.items())),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_json`; raises DataError for another format."""
        if data.get("format") != 1:
            raise DataError(f"evidence format {data.get('format')!r} is not known", "read it with a newer bedside")
        return cls(
            check=data["check"],
            estimates=tuple(Estimate.from_json(item) for item in data["estimates"]),
            figures=tuple(Figure.from_json(item) for item in data["figures"]),
            findings=tuple(Finding.from_json(item) for item in data["findings"]),
            sources=data["sources"],
        )

    def with_sources(self, **digests: str) -> Evidence:
        """The same evidence bound to digests of what it came from."""
        return replace(self, sources={**self.sources, **digests})

    def find(self, metric: str, **wanted: Any) -> Estimate | None:
        """The first estimate of a metric whose attributes equal `wanted` (group, at, versus default to None)."""
        wanted = {"group": None, "versus": None, **wanted}
        for item in self.estimates:
            if item.metric == metric and all(getattr(item, key) == value for key, value in wanted.items()):
                return item
        return None


def join(check: str, pieces: Iterable[Evidence]) -> Evidence:
    """Several pieces of evidence as one, in their order."""
    items = list(pieces)
    sources: dict[str, str] = {}
    for item in items:
        sources.update(item.sources)
    return Evidence(
        check=check,
        estimates=tuple(estimate for item in items for estimate in item.estimates),
        figures=tuple(figure for item in items for figure in item.figures),
        findings=tuple(finding for item in items for finding in item.findings),
        sources=sources,
    )
