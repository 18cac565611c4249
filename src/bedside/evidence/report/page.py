"""Render a report: one HTML file that needs nothing else, or JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from bedside.evidence.estimate import Estimate, Evidence, Figure, Scalar
from bedside.evidence.report import palette
from bedside.evidence.report.data import ReportData
from bedside.evidence.report.forests import forests
from bedside.evidence.report.headline import headline_estimates
from bedside.evidence.report.sections import ORDER, Section, sections, where
from bedside.evidence.report.tables import (
    FigureBlock,
    FindingRow,
    Row,
    Table,
    at_both,
    estimates_table,
    figure_block,
    finding_rows,
    joined,
)
from bedside.evidence.report.verdict import banner, overrides
from bedside.evidence.report.words import Both, Words, clean

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SectionView:
    """A section as the page shows it."""

    id: str
    findings: list[FindingRow]
    statements: list[FindingRow]
    figures: list[FigureBlock]
    table: Table | None


@dataclass(frozen=True)
class Card:
    """A headline number."""

    name: Both
    at: Both
    row: Row
    rest: Both


def render(report: ReportData) -> str:
    """The report as one HTML page: no request leaves it, values are escaped, both languages are in it."""
    import jinja2

    words = Words()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bedside.evidence.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _own("page.js")
    found = sections(report.evidence)
    view = {
        "report": report,
        "title": clean(report.title),
        "w": words.name,
        "maybe": words.maybe,
        "define": words.definition,
        "same": Both.same,
        "words": words,
        "banner": banner(report, words),
        "alarms": _alarms(report, words),
        "facts": [
            _fact(key, value, words) for key, value in report.facts if not _is_digest(value) and not _is_long(value)
        ],
        "lists": [_fact(key, value, words) for key, value in report.facts if _is_long(value)],
        "digests": [(words.name(key), value) for key, value in report.facts if _is_digest(value)],
        "cards": [_card(item, words) for item in headline_estimates(report.evidence)],
        "sections": _views(found, words),
        "tripod": [_tripod_row(row, found, words) for row in report.tripod],
        "sources": [_source(piece) for piece in report.evidence],
        "overrides": overrides(report, words),
        "style": Markup(palette.css() + _own("style.css")),  # noqa: S704  # our own file
        "script": Markup(script),  # noqa: S704  # our own file
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return environment.get_template("page.html.j2").render(view)


def render_json(report: ReportData) -> str:
    """The report as JSON, the same content without its looks; `ReportData.from_json` reads it."""
    return json.dumps(report.to_json(), ensure_ascii=False, indent=1) + "\n"


def _own(name: str) -> str:
    return resources.files("bedside.evidence.report").joinpath("templates", name).read_text(encoding="utf-8")


def _views(found: Mapping[str, Section], words: Words) -> list[SectionView]:
    number = 0
    out = []
    for name in ORDER:
        section = found[name]
        if not section:
            continue
        pairs = _paired(section.figures)
        if name == "subgroups":
            whole = [item for other in found.values() for item in other.estimates]
            pairs = [(figure, None) for figure in forests(section.estimates, whole)] + pairs
        blocks = []
        ids = Counter(figure.id for figure, _ in pairs)
        for figure, below in pairs:
            number += 1
            blocks.append(figure_block(figure, number, words, below, of=_of(figure, ids[figure.id] == 1, words)))
        out.append(
            SectionView(
                name,
                finding_rows(section.findings, words),
                _statements(section, words),
                blocks,
                estimates_table(section.estimates, words) if section.estimates else None,
            )
        )
    return out


def _of(figure: Figure, alone: bool, words: Words) -> Both | None:
    """What a figure is of, where others have the same name: its label, its one field, else what it shows along x; and
    by what a heat map was made."""
    label, fields = _label(figure), set(figure.columns.get("field", ()))
    of = [] if label is None else [Both.same(clean(label))]
    methods = {str(each) for each in figure.columns.get("explained_by", ())}
    if len(methods) == 1:
        return joined([*of, words.maybe(methods.pop())])
    if figure.kind == "forest":
        of += [words.maybe(figure.axes["x"])] if "x" in figure.axes else []
    elif len(fields) == 1:
        of.append(Both.same(str(fields.pop())))
    elif label is None and not alone and "x" in figure.axes:
        of.append(words.maybe(figure.axes["x"]))
    return joined(of) if of else None


def _paired(figures: Sequence[Figure]) -> list[tuple[Figure, Figure | None]]:
    """Figures to draw, the distribution of predicted risk under the calibration curve it belongs to."""
    strips = [figure for figure in figures if figure.id == "risk_distribution" and figure.kind == "histogram"]
    out: list[tuple[Figure, Figure | None]] = []
    for figure in figures:
        if figure in strips:
            continue
        strip = next((each for each in strips if (each.part, _label(each)) == (figure.part, _label(figure))), None)
        out.append((figure, strip if figure.id == "calibration_curve" else None))
    used = [below for _, below in out if below is not None]
    return out + [(strip, None) for strip in strips if strip not in used]


def _label(figure: Figure) -> object:
    """Of which label a figure is, where it is of one."""
    return next(iter(figure.columns.get("label", ())), None)


def _statements(section: Section, words: Words) -> list[FindingRow]:
    """What the paired differences say, plainly: who is better, or that nobody is shown to be.

    Empty where the check has said it in findings of its own.
    """
    if section.findings:
        return []
    out = []
    for item in section.estimates:
        term = words.get(item.metric)
        sign = {"higher": 1, "lower": -1}.get(term.direction or "none") if term is not None else None
        if item.versus is None or item.at is not None or item.group is not None or sign is None or item.value is None:
            continue
        low = (item.value if item.low is None else item.low) * sign
        high = (item.value if item.high is None else item.high) * sign
        verdict = "pass" if min(low, high) > 0 else "fail" if max(low, high) < 0 else "not_enough"
        sentence = {"pass": "report_beats", "fail": "report_beaten", "not_enough": "report_not_beaten"}[verdict]
        name, versus = words.name(item.metric), words.label(item.versus)
        out.append(FindingRow(verdict, words.told(sentence, versus=versus, metric=name)))
    return out


def _alarms(report: ReportData, words: Words) -> list[FindingRow]:
    """Every finding that stops or cautions, whatever section it stands in."""
    found = [item for piece in report.evidence for item in piece.findings if item.severity != "info"]
    return finding_rows(found, words)


def _card(item: Estimate, words: Words) -> Card:
    row = estimates_table([item], words).rows[0]
    n = f"n\u00a0=\u00a0{row.n_rows}" if row.n_rows else ""
    en, zh = row.interval.en and f"({row.interval.en})", row.interval.zh and f"（{row.interval.zh}）"
    rest = Both(", ".join(filter(None, [en, n])), "，".join(filter(None, [zh, n])))
    return Card(words.name(item.metric), at_both(item.at, words), row, rest)


def _fact(key: str, value: Scalar | Sequence[Scalar], words: Words) -> tuple[Both, list[Both]]:
    """A fact's name and values; a value that is an id of this fact (identity, row) is put in words."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    shown = []
    for each in values:
        known = words.get(f"{key}_{each}") if isinstance(each, str) else None
        shown.append(words.label(each) if known is None else Both(known.en, known.zh))
    return words.name(key), shown


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_long(value: object) -> bool:
    """A list that would fill the page among the facts (the versions of every library) goes under provenance."""
    return isinstance(value, list | tuple) and len(value) > 8


def _source(piece: Evidence) -> dict[str, Any]:
    return {"check": clean(piece.check), "digest": piece.digest, "sources": sorted(piece.sources.items())}


def _tripod_row(row: Mapping[str, Any], found: Mapping[str, Section], words: Words) -> dict[str, Any]:
    """A TRIPOD+AI item with links to the sections that answer it; what the plan says of it is named, not linked."""
    links: dict[str, Both | None] = {}
    for pointer in row["pointers"]:
        section = where(pointer, found)
        links[clean(pointer) if section is None else section] = (
            None if section is None else words.name(f"section_{section}")
        )
    answer = row["answer"]
    return {
        "item": clean(row["item"]),
        "section": words.name(f"tripod_{row['section']}"),
        "text": Both(clean(row["en"]), clean(row["zh"])),
        "status": row["status"],
        "links": links,
        "answer": None if answer is None else clean(answer),
    }
