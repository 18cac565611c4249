"""Choose: which series of a study is the right one, by a rule that is data.

    {kind: volume | image, modality: [CT], orientation: axial | coronal | sagittal, thickness: {at_most: 3},
     slices: {at_least: 40}, kernel: [B30f], include: [words], exclude: [words], prefer: [slices, -thickness]}

`include` and `exclude` are regular expressions looked for in description and image type, in any case. Of the series
that fit, the first by `prefer` (a minus: the smaller) is taken; what is equal in all is taken by its series UID.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from bedside.errors import DataError

_KEYS = ("kind", "modality", "orientation", "thickness", "slices", "kernel", "include", "exclude", "prefer")
Row = Mapping[str, Any]


def rule_of(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """A rule by its name, or one that is written out; raises DataError for an unknown name, key or expression."""
    if isinstance(spec, str):
        text = resources.files("bedside.intake.dicom").joinpath("series_rules.json").read_text(encoding="utf-8")
        known = json.loads(text)["rules"]
        if spec not in known:
            raise DataError(f"no rule for series is called '{spec}'", f"known: {', '.join(known)}; or write one out")
        return dict(known[spec])
    unknown = sorted(set(spec) - set(_KEYS))
    if unknown:
        raise DataError(f"a rule for series cannot say {unknown}", f"it says: {', '.join(_KEYS)}")
    for pattern in (*spec.get("include", ()), *spec.get("exclude", ())):
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            raise DataError(f"{pattern!r} is no regular expression", "write words") from None
    return dict(spec)


def choose(rows: Sequence[Row], rule: Mapping[str, Any]) -> list[int]:
    """Positions of the chosen rows, one a study at most, in their order."""
    studies: dict[str, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if fits(row, rule):
            studies[row["study"]].append(position)
    best = [min(found, key=lambda position: _rank(rows[position], rule)) for found in studies.values()]
    return sorted(best)


def fits(row: Row, rule: Mapping[str, Any]) -> bool:
    """Whether a series fulfils all that a rule demands; what it does not say of itself it does not fulfil."""
    said = f"{row.get('description') or ''} {row.get('image_type') or ''}"
    kind = rule.get("kind")
    return (
        (kind is None or row.get(kind) is not None)
        and ("modality" not in rule or row["modality"] in rule["modality"])
        and ("orientation" not in rule or row.get("orientation") == rule["orientation"])
        and ("kernel" not in rule or row.get("kernel") in rule["kernel"])
        and _within(row.get("thickness"), rule.get("thickness"))
        and _within(row.get("slices"), rule.get("slices"))
        and ("include" not in rule or any(re.search(each, said, re.IGNORECASE) for each in rule["include"]))
        and not any(re.search(each, said, re.IGNORECASE) for each in rule.get("exclude", ()))
    )


def _within(value: float | None, bounds: Mapping[str, float] | None) -> bool:
    if bounds is None:
        return True
    if value is None:
        return False
    return bounds.get("at_least", value) <= value <= bounds.get("at_most", value)


def _rank(row: Row, rule: Mapping[str, Any]) -> tuple[Any, ...]:
    out: list[Any] = []
    for each in rule.get("prefer", ()):
        value = row.get(each.lstrip("-"))
        out.append(float("inf") if value is None else value if each.startswith("-") else -value)
    return (*out, row["series"])
