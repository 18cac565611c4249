"""Curves and clouds over two numeric axes: line, band, steps, scatter; ROC, calibration, utility by their custom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from bedside.evidence.estimate import Figure, Scalar
from bedside.evidence.report.figures.bars import NAMES, histogram_below
from bedside.evidence.report.figures.tidy import Tidy
from bedside.evidence.report.palette import DASHES, SERIES
from bedside.evidence.report.svg import (
    Plot,
    Scale,
    domain,
    drawing,
    element,
    is_share,
    line,
    path,
    shortened,
    text,
    width_of,
)
from bedside.evidence.report.words import Both, Words

Point = tuple[float, float]


@dataclass(frozen=True)
class Convention:
    """How a figure of one id is always drawn.

    Square over 0–1, or square with one scale for both axes; the diagonal by name; y not below the harm that matters.
    """

    square: Literal["unit", "same"] | None = None
    diagonal: str | None = None
    floor_share: float | None = None


CONVENTIONS = {
    "roc": Convention("unit", diagonal="chance"),
    "precision_recall": Convention("unit"),
    "calibration_curve": Convention("unit", diagonal="ideal"),
    "calibration_means": Convention("same", diagonal="ideal"),
    # Treating all falls without end as the threshold grows: the axis stops a little below zero, as is the custom.
    "decision_curve": Convention(floor_share=0.25),
}
TOP, LEFT, FOOT, LABEL_STEP = 14.0, 62.0, 48.0, 16.0


def draw(figure: Figure, words: Words, below: Figure | None = None) -> Markup:
    """The picture; `below` is a histogram over the same x axis, drawn underneath."""
    tidy = Tidy(figure)
    how = CONVENTIONS.get(figure.id, Convention())
    series = [(_label(name, words), rows) for name, rows in tidy.series()]
    named = [label for label, _ in series if label is not None]
    direct = how.square is None and 1 < len(named) <= len(SERIES)
    margin = min(190.0, max((width_of(label) for label in named), default=0.0) + 18) if direct else 16.0
    if below is not None:
        margin = NAMES
    wide, high = (340.0, 340.0) if how.square is not None else (460.0, 300.0) if direct else (340.0, 230.0)
    plot = Plot(
        Scale(*_x_domain(tidy, how), LEFT, LEFT + wide),
        Scale(*_y_domain(tidy, how), TOP + high, TOP),
    )
    parts = [plot.axes(None if below else words.maybe(tidy.name("x")), words.maybe(tidy.name("y")))]
    if how.diagonal is not None:
        corners = [plot.point(end, end) for end in (plot.x.low, plot.x.high)]
        parts.append(line(*corners[0], *corners[1], "reference"))
    styles = [_style(i, name) for i, (name, _) in enumerate(tidy.series())]
    for (_, rows), (colour, _dash) in zip(series, styles, strict=True):
        if tidy.has("low") and tidy.has("high"):
            parts.append(_band(tidy, rows, plot, colour, whiskers=figure.kind == "scatter"))
    for (_, rows), (colour, dash) in zip(series, styles, strict=True):
        parts.append(_marks(figure.kind, tidy.points(rows), plot, colour, dash))
    entries = [(label, *style) for (label, _), style in zip(series, styles, strict=True) if label is not None]
    if direct:
        ends = [_end(tidy.points(rows), plot) for _, rows in series]
        parts.append(_end_labels(entries, ends, plot, margin))
    else:
        reference = [(words.name(how.diagonal), "reference", "")] if how.diagonal is not None else []
        if len(entries) + len(reference) > 1 or (entries and reference):
            parts.append(_legend([*entries, *reference], plot, at_left=figure.id == "precision_recall"))
    height = TOP + high + FOOT
    if below is not None:
        strip, strip_height = histogram_below(below, words, plot, words.maybe(tidy.name("x")))
        parts.append(strip)
        height += strip_height
    return drawing(LEFT + wide + margin, height, *parts, class_="figure" if direct else "figure half")


def _label(name: Scalar, words: Words) -> Both | None:
    return None if name is None else shortened(words.series(name), 170)


def _style(index: int, name: Scalar) -> tuple[str, str]:
    """Colour and dash: treating nobody or everybody is no strategy of ours, so it is grey."""
    if name in ("treat_all", "treat_none"):
        return "s5", "" if name == "treat_none" else DASHES[1]
    return SERIES[index % len(SERIES)], DASHES[(index // len(SERIES) + index) % len(DASHES)]


def _x_domain(tidy: Tidy, how: Convention) -> tuple[float, float]:
    """0–1 for probabilities, round ends for a cloud; a line starts and ends with its data."""
    known = tidy.known("x")
    if how.square == "same":
        return domain(tidy.known("x", "y", "low", "high"))
    if how.square == "unit" or is_share(known):
        return 0.0, 1.0
    tight = tidy.figure.kind != "scatter" and max(known) > min(known)
    return (min(known), max(known)) if tight else domain(known)


def _y_domain(tidy: Tidy, how: Convention) -> tuple[float, float]:
    known = tidy.known("y", "low", "high")
    if how.square is not None:
        return _x_domain(tidy, how)
    if how.floor_share is not None:
        top = max([*tidy.known("y"), 1e-6])
        return domain([max(min(known), -how.floor_share * top), max(known)])
    return (0.0, 1.0) if is_share(known) else domain(known)


def _inside(points: Sequence[Point], plot: Plot) -> list[list[Point]]:
    """The parts of a line that lie inside the axes, cut where they cross the edge, in data units."""
    low, high = plot.y.low, plot.y.high
    runs: list[list[Point]] = [[]]
    for i, (x, y) in enumerate(points):
        if i and (low <= y <= high) != (low <= points[i - 1][1] <= high):
            (x0, y0), edge = points[i - 1], high if max(y, points[i - 1][1]) > high else low
            runs[-1].append((x0 + (edge - y0) / (y - y0) * (x - x0), edge))
        if low <= y <= high:
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _thinned(points: Sequence[Point], plot: Plot) -> list[Point]:
    """Pixels of a line, without points closer than half a pixel to the one before."""
    out: list[Point] = []
    for i, (x, y) in enumerate(points):
        pixel = plot.point(x, y)
        if i in (0, len(points) - 1) or abs(pixel[0] - out[-1][0]) + abs(pixel[1] - out[-1][1]) >= 0.5:
            out.append(pixel)
    return out


def _marks(kind: str, points: Sequence[Point], plot: Plot, colour: str, dash: str) -> Markup:
    if kind == "scatter":
        inside = [(x, y) for x, y in points if plot.x.holds(x) and plot.y.holds(y)]
        return Markup("").join(
            element("circle", cx=plot.x(x), cy=plot.y(y), r=3.0, class_=f"dot {colour}") for x, y in inside
        )
    if kind == "steps":
        points = [
            corner for i, (x, y) in enumerate(points) for corner in ([(x, points[i - 1][1]), (x, y)] if i else [(x, y)])
        ]
    runs = _inside(points, plot)
    return Markup("").join(path(_thinned(run, plot), f"line {colour}", dash=dash) for run in runs)


def _band(tidy: Tidy, rows: Sequence[int], plot: Plot, colour: str, *, whiskers: bool) -> Markup:
    xs, lows, highs = (tidy.numbers(axis) for axis in ("x", "low", "high"))
    full = [
        (x, a, b)
        for x, a, b in ((xs[i], lows[i], highs[i]) for i in rows)
        if x is not None and a is not None and b is not None
    ]
    if whiskers:
        return Markup("").join(
            line(plot.x(x), plot.y.clipped(a), plot.x(x), plot.y.clipped(b), f"whisker {colour}") for x, a, b in full
        )
    if len(full) < 2:
        return Markup("")
    there = [(plot.x(x), plot.y.clipped(b)) for x, _, b in full]
    back = [(plot.x(x), plot.y.clipped(a)) for x, a, _ in reversed(full)]
    return path([*there, *back], f"band {colour}", close=True)


def _end(points: Sequence[Point], plot: Plot) -> Point:
    """Where the visible part of a line ends, in px; the middle of the right edge when nothing is visible."""
    runs = _inside(points, plot)
    if not runs:
        return plot.right, (plot.top + plot.bottom) / 2
    return plot.point(*runs[-1][-1])


def _end_labels(entries: Sequence[tuple[Both, str, str]], ends: Sequence[Point], plot: Plot, margin: float) -> Markup:
    """The name of each line beside its end, moved apart where they would overlap, with a leader to the line."""
    parts = []
    order = sorted(range(len(ends)), key=lambda i: ends[i][1])
    for i in [i for i in order if ends[i][0] < plot.right - 40]:
        # The line leaves the picture before its right edge: its name stands where it does.
        order.remove(i)
        parts.append(text(ends[i][0] + 7, ends[i][1] - 7, entries[i][0], class_=f"name {entries[i][1]}"))
    ys: list[float] = []
    for i in order:
        ys.append(max(ends[i][1], ys[-1] + LABEL_STEP if ys else plot.top))
    limit = plot.bottom
    for k in reversed(range(len(ys))):
        ys[k] = min(ys[k], limit)
        limit = ys[k] - LABEL_STEP
    for y, i in zip(ys, order, strict=True):
        label, colour, _ = entries[i]
        x_end, y_end = ends[i]
        if abs(y - y_end) > 6 or x_end < plot.right - 1:
            parts.append(line(x_end + 1, y_end, plot.right + 8, y, f"leader {colour}"))
        parts.append(text(plot.right + 11, y + 4, shortened(label, margin - 14), class_=f"name {colour}"))
    return Markup("").join(parts)


def _legend(entries: Sequence[tuple[Both, str, str]], plot: Plot, *, at_left: bool) -> Markup:
    """Names with a sample of their line, in the lower corner that the curve leaves free."""
    wide = max(width_of(label) for label, _, _ in entries) + 42
    tall = 17.0 * len(entries) + 8
    left = plot.left + 8 if at_left else plot.right - wide - 6
    top = plot.bottom - tall - 8
    parts = [element("rect", x=left, y=top, width=wide, height=tall, rx=3.0, class_="key")]
    for i, (label, colour, dash) in enumerate(entries):
        y = top + 15 + 17 * i
        kind = "reference" if colour == "reference" else f"line {colour}"
        parts.append(path([(left + 7, y - 2), (left + 31, y - 2)], kind, dash=dash))
        parts.append(text(left + 37, y + 2, label, class_="name" if colour == "reference" else f"name {colour}"))
    return Markup("").join(parts)
