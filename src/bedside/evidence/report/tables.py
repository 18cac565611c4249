"""Estimates, findings and figures as the rows a page shows, each text in both languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bedside.evidence.estimate import Estimate, Figure, Finding, Scalar
from bedside.evidence.report.figures import draw
from bedside.evidence.report.numbers import (
    at_text,
    estimate_text,
    interval_text,
    plain,
    value_text,
)
from bedside.evidence.report.svg import element
from bedside.evidence.report.words import Both, Words, clean

MOST_CELLS = 200  # rows of a figure's table that the page holds; the JSON holds all


def estimate_both(item: Estimate, words: Words, *, n: bool = True) -> Both:
    """`0.91 (0.88–0.94), n = 512`, or why there is no number."""
    term = words.get(item.metric)
    if item.value is None:
        return reason(item, words)
    return Both(estimate_text(item, term, "en", n=n), estimate_text(item, term, "zh", n=n))


def reason(item: Estimate, words: Words) -> Both:
    """Why an estimate has no value; ids of the glossary are put in words."""
    why = item.why_not if item.why_not is not None else "not_estimable"
    if words.get(why) is not None:
        at = {**(item.at or {}), "n": item.n_rows, "n_events": item.n_events, "n_subjects": item.n_subjects}
        return words.sentence(why, at)
    return words.maybe(why)


def at_both(at: Mapping[str, Scalar] | None, words: Words) -> Both:
    """What an estimate is taken at, as `threshold 0.30, class: x`."""
    parts = []
    for key, value in (at or {}).items():
        name = words.name(f"at_{key}") if words.get(f"at_{key}") is not None else words.maybe(key) + ":"
        shown = Both.same(value) if isinstance(value, str) else Both(at_text(value, "en"), at_text(value, "zh"))
        if key in ("explained_by", "place", "action") and isinstance(value, str):
            shown = words.maybe(value)  # a word of ours; any other text is the user's own
        parts.append(name + " " + shown)
    return joined(parts)


def group_both(group: Mapping[str, str] | None, words: Words) -> Both:
    """A group as `sex = F, age = 65+`; group names and values are the user's own words."""
    return joined([Both.same(f"{clean(key)} = {clean(value)}") for key, value in (group or {}).items()])


def joined(parts: Sequence[Both]) -> Both:
    """Several texts with commas between them."""
    return Both(", ".join(each.en for each in parts), "，".join(each.zh for each in parts))


def qualified(name: Both, more: Both) -> Both:
    """A name with what qualifies it in brackets; after a dot where the name already ends in a bracket."""
    en = f"{name.en} · {more.en}" if name.en.endswith(")") else f"{name.en} ({more.en})"
    return Both(en, f"{name.zh} · {more.zh}" if name.zh.endswith("）") else f"{name.zh}（{more.zh}）")


def label(item: Estimate, words: Words) -> Both:
    """The full name of an estimate: metric, what it is taken at, group, what it is compared with."""
    name = words.name(item.metric)
    parts = [each for each in (at_both(item.at, words), group_both(item.group, words)) if each.en]
    if item.versus is not None:
        parts.append(words.name("report_minus") + " " + words.label(item.versus))
    if item.part not in ("test", "cohort"):
        parts.append(words.name(item.part))
    if not parts:
        return name
    return qualified(name, joined(parts))


@dataclass(frozen=True)
class Row:
    """One estimate in a table; `metric` and `method_id` are ids that the glossary defines."""

    label: Both
    metric: str | None
    value: Both
    interval: Both
    reason: Both | None
    n_rows: str
    n_subjects: str
    n_events: str
    level: str
    method: Both | None
    method_id: str | None
    good: str


@dataclass(frozen=True)
class Table:
    """Estimates in rows; `level` when all intervals share one; `many` asks the page to fold the table."""

    rows: list[Row]
    level: Both | None
    many: bool
    with_subjects: bool
    with_events: bool
    with_interval: bool
    with_level: bool
    with_method: bool


def estimates_table(items: Sequence[Estimate], words: Words) -> Table:
    """A table of estimates, in their order."""
    levels = Counter(item.level for item in items if item.level is not None)
    one = None
    if len(levels) == 1:
        one = words.sentence("report_intervals_at", {"level": level_text(next(iter(levels)))})
    rows = [_row(item, words) for item in items]
    return Table(
        rows,
        one,
        many=len(rows) > 16,
        with_subjects=any(item.n_subjects not in (None, item.n_rows) for item in items),
        with_events=any(item.n_events is not None for item in items),
        with_interval=any(item.low is not None for item in items),
        with_level=len(levels) > 1,
        with_method=any(item.method is not None for item in items),
    )


def level_text(level: float) -> str:
    """A level as `95%` or, where it was adjusted for several groups, `98.75%`."""
    return f"{level * 100:.2f}".rstrip("0").rstrip(".") + "%"


def _row(item: Estimate, words: Words) -> Row:
    term = words.get(item.metric)
    known = item.value is not None
    return Row(
        label=label(item, words),
        metric=_defined(item.metric, words),
        value=Both(value_text(item, term, "en"), value_text(item, term, "zh")),
        interval=Both(interval_text(item, term, "en"), interval_text(item, term, "zh")),
        reason=None if known else reason(item, words),
        n_rows="" if item.n_rows is None else plain(item.n_rows),
        n_subjects="" if item.n_subjects is None else plain(item.n_subjects),
        n_events="" if item.n_events is None else plain(item.n_events),
        level="" if item.level is None else level_text(item.level),
        method=None if item.method is None else words.name(item.method),
        method_id=None if item.method is None else _defined(item.method, words),
        good="" if term is None or term.direction in (None, "none") else term.direction,
    )


def _defined(key: str, words: Words) -> str | None:
    """An id when the report's glossary holds its definition."""
    return key if words.definition(key).en else None


@dataclass(frozen=True)
class FindingRow:
    """One finding: its severity is an id of the glossary (info, caution, stop)."""

    severity: str
    text: Both


def finding_rows(items: Sequence[Finding], words: Words) -> list[FindingRow]:
    """Findings in words, the gravest first."""
    order = ("stop", "caution", "info")
    ranked = sorted(items, key=lambda item: order.index(item.severity))
    return [FindingRow(item.severity, said(item, words)) for item in ranked]


def said(item: Finding, words: Words) -> Both:
    """A finding in words; of one label among several, after that label."""
    told = words.sentence(item.id, item.values)
    if "label" not in item.values:
        return told
    label = clean(item.values["label"])
    return Both(f"{label}: {told.en}", f"{label}：{told.zh}")


@dataclass(frozen=True)
class FigureBlock:
    """A figure as the page shows it: name, what it shows, picture (None: only the table), table, in its part."""

    number: int
    name: Both
    caption: Both
    table: Both
    svg: Markup | None
    head: list[Both]
    cells: list[list[Both]]
    rows: int
    part: Both | None
    table_only: bool


def figure_block(
    figure: Figure, number: int, words: Words, below: Figure | None = None, *, of: Both | None = None
) -> FigureBlock:
    """A figure with its table; the picture carries name and description for those who cannot see it.

    `of` tells it from others of the same name.
    """
    name, caption = words.name(figure.id), words.definition(figure.id)
    if of is not None:
        name = Both(f"{name.en}: {of.en}", f"{name.zh}：{of.zh}")
    svg = draw(figure, words, below)
    if svg is not None:
        svg = _described(svg, number, name, caption)
    pictured = {figure.axes.get(axis) for axis in ("image", "plain")} if figure.kind == "images" else set()
    seen = {"explained_by", *pictured}  # the title says by what
    keys = [key for key in _reading_order(figure) if key not in seen]
    rows = max((len(column) for column in figure.columns.values()), default=0)
    step = max(1, -(-rows // MOST_CELLS))
    read = {key: words.series if key == figure.axes.get("series") else words.label for key in keys}
    cells = [[read[key](figure.columns[key][row]) for key in keys] for row in range(0, rows, step)]
    part = None if figure.part == "test" else words.name(figure.part)
    table = words.told("report_table", name=name)
    return FigureBlock(
        number, name, caption, table, svg, [words.maybe(key) for key in keys], cells, rows, part, figure.kind == "table"
    )


def _reading_order(figure: Figure) -> list[str]:
    """The columns as one reads them: series, what is measured, its value and limits, then the rest."""
    axes = figure.axes
    labels = figure.columns[axes["y"]] if "y" in axes else ()
    named = any(isinstance(cell, str) for cell in labels)  # labels on y: bars, forests, confusion matrices
    wanted = ("series", "y", "x", "low", "high", "value") if named else ("series", "x", "y", "low", "high", "value")
    return list(dict.fromkeys([*(axes[axis] for axis in wanted if axis in axes), *figure.columns]))


def _described(svg: Markup, number: int, name: Both, caption: Both) -> Markup:
    """The picture with a title and a description (SVG 2, 5.8) in both languages."""
    title, about = f"figure-{number}-title", f"figure-{number}-desc"
    words = [each if each.en == each.zh else Both.same(f"{each.en} · {each.zh}") for each in (name, caption)]
    inside = element("title", words[0].en, id=title) + element("desc", words[1].en, id=about)
    start, end = svg.split(">", 1)
    return Markup(f'{start} role="img" aria-labelledby="{title}" aria-describedby="{about}">{inside}{end}')  # noqa: S704
