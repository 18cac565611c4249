"""Forest plots: one estimate a line with its interval, the overall value as a dashed line."""

from __future__ import annotations

from markupsafe import Markup

from bedside.evidence.estimate import Figure, Scalar
from bedside.evidence.report.figures.tidy import Tidy, number
from bedside.evidence.report.numbers import DASH, NONE, decimals_of, fixed, plain, tick_text
from bedside.evidence.report.svg import Plot, Scale, domain, drawing, element, line, shortened, text, width_of
from bedside.evidence.report.words import Both, Words

STEP, TOP, WIDE = 24.0, 30.0, 300.0
MOST_LINES = 60


def draw(figure: Figure, words: Words) -> Markup:
    """Labels, intervals, numbers and n in columns; the first 60 lines. A line labelled "overall" is the reference."""
    tidy = Tidy(figure)
    label_axis, value_axis = ("y", "x") if not tidy.numeric("y") else ("x", "y")
    cells = list(tidy.cells(label_axis))
    rows = range(min(len(cells), MOST_LINES))
    labels = [_label(tidy, row, cells[row], words) for row in rows]
    left = max([width_of(label) for label in labels] + [60.0]) + 24
    values, lows, highs = (tidy.numbers(axis) for axis in (value_axis, "low", "high"))
    known = [cell for column in (values, lows, highs) for row in rows if (cell := column[row]) is not None]
    x = Scale(*domain(known, about=4), left, left + WIDE)
    bottom = TOP + STEP * len(rows)
    plot = Plot(x, Scale(0, 1, bottom, TOP))
    counts = tidy.figure.columns.get("n") or tidy.figure.columns.get("n_rows")
    parts = [_head(plot, tidy.name(value_axis), words, with_n=counts is not None)]
    ticks, _ = x.ticks(4)
    parts.extend(line(x(tick), TOP, x(tick), bottom, "grid") for tick in ticks)
    overall = next((values[row] for row in rows if cells[row] == "overall"), None)
    if overall is not None:
        parts.append(line(x(overall), TOP, x(overall), bottom, "reference"))
    for row, label in zip(rows, labels, strict=True):
        y = TOP + STEP * (row + 0.5)
        strong = " strong" if cells[row] == "overall" else ""
        parts.append(text(left - 14, y + 4, label, class_="tick" + strong, anchor="end"))
        parts.append(_estimate(x, y, values[row], lows[row], highs[row], overall=cells[row] == "overall"))
        parts.append(text(x.end + 14, y + 4, _numbers(values[row], lows[row], highs[row]), class_="number" + strong))
        if counts is not None:
            parts.append(text(x.end + 210, y + 4, plain(number(counts[row])), class_="number" + strong, anchor="end"))
    parts.append(_foot(plot))
    return drawing(x.end + (220 if counts is not None else 150), bottom + 26, *parts)


def _foot(plot: Plot) -> Markup:
    """The x axis with its ticks, without a title."""
    ticks, step = plot.x.ticks(4)
    parts = [line(plot.left, plot.bottom, plot.right, plot.bottom, "axis")]
    for value in ticks:
        parts.append(text(plot.x(value), plot.bottom + 16, tick_text(value, step), class_="tick", anchor="middle"))
    return Markup("").join(parts)


def _label(tidy: Tidy, row: int, cell: Scalar, words: Words) -> Both:
    label = words.label(cell)
    if tidy.has("series") and cell != "overall":
        label = words.series(tidy.cells("series")[row]) + ": " + label
    return shortened(label, 240)


def _head(plot: Plot, metric: str, words: Words, *, with_n: bool) -> Markup:
    parts = [text((plot.left + plot.right) / 2, 16, words.maybe(metric), class_="title", anchor="middle")]
    if with_n:
        parts.append(text(plot.right + 210, 16, "n", class_="title", anchor="end"))
    return Markup("").join(parts)


def _estimate(
    x: Scale, y: float, value: float | None, low: float | None, high: float | None, *, overall: bool
) -> Markup:
    if value is None:
        return Markup("")
    parts = []
    if low is not None and high is not None:
        if overall:
            corners = [(x(low), y), (x(value), y - 7), (x(high), y), (x(value), y + 7)]
            d = "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in corners) + "Z"
            return element("path", d=d, class_="diamond")
        parts.append(line(x(low), y, x(high), y, "interval"))
        parts.extend(line(x(limit), y - 4, x(limit), y + 4, "interval") for limit in (low, high))
    parts.append(element("rect", x=x(value) - 4, y=y - 4, width=8.0, height=8.0, class_="square"))
    return Markup("").join(parts)


def _numbers(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return NONE
    decimals = decimals_of(value, low, high)
    shown = fixed(value, decimals)
    if low is None or high is None:
        return shown
    joint = DASH if low >= 0 else " to "
    return f"{shown} ({fixed(low, decimals)}{joint}{fixed(high, decimals)})"
