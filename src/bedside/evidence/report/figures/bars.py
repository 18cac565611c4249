"""Bars and histograms: counts and sizes from a zero line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from bedside.evidence.estimate import Figure, Scalar
from bedside.evidence.report.figures.tidy import Tidy
from bedside.evidence.report.numbers import common_decimals, fixed, plain, tick_text
from bedside.evidence.report.palette import SERIES
from bedside.evidence.report.svg import (
    Plot,
    Scale,
    domain,
    drawing,
    element,
    is_share,
    line,
    shortened,
    text,
    width_of,
)
from bedside.evidence.report.words import Both, Words

Bin = tuple[float, float, float]
MOST_BARS = 30
NAMES = 86.0  # room for the names of the series, to the right of the bars


def draw_bars(figure: Figure, words: Words) -> Markup:
    """Horizontal bars, one a label (and series), with whiskers where there are limits; the first 30 labels."""
    tidy = Tidy(figure)
    label_axis, value_axis = ("y", "x") if tidy.numeric("x") and not tidy.numeric("y") else ("x", "y")
    names = list(dict.fromkeys(tidy.cells(label_axis)))[:MOST_BARS]
    groups = tidy.series()
    labels = [shortened(words.label(name), 220) for name in names]
    left = max(width_of(label) for label in labels) + 20
    thick = 18.0 if len(groups) == 1 else 11.0
    step = thick * len(groups) + 10
    known = tidy.known(value_axis, "low", "high")
    x = Scale(*domain([*known, 0.0]), left, left + 400)
    top = 10.0 if len(groups) == 1 else 32.0
    plot = Plot(x, Scale(0, 1, top + step * len(names), top))
    parts = [_grid(plot), _key(groups, words, left) if len(groups) > 1 else Markup("")]
    values, cells = tidy.numbers(value_axis), tidy.cells(label_axis)
    lows = tidy.numbers("low") if tidy.has("low") else [None] * len(values)
    highs = tidy.numbers("high") if tidy.has("high") else [None] * len(values)
    decimals = common_decimals(tidy.known(value_axis))
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        middle = top + step * (i + 0.5)
        parts.append(text(left - 9, middle + 4, label, class_="tick", anchor="end"))
        for k, (_, rows) in enumerate(groups):
            y = middle + (k - len(groups) / 2) * thick
            for row in rows:
                value = values[row]
                if cells[row] == name and value is not None:
                    limits = (lows[row], highs[row])
                    parts.append(_bar(x, y, thick - 2, value, limits, SERIES[k % len(SERIES)]))
                    if len(groups) == 1:
                        end = max(x(end) for end in (0.0, value, limits[1]) if end is not None)
                        parts.append(text(end + 6, middle + 4, fixed(value, decimals), class_="tick"))
    parts.append(line(x(0), top, x(0), plot.bottom, "zero"))
    parts.append(_x_ticks(plot, words.maybe(tidy.name(value_axis))))
    return drawing(plot.right + 60, plot.bottom + 48, *parts)


def draw_histogram(figure: Figure, words: Words) -> Markup:
    """Counts over bins; two series are drawn back to back, the first above the line."""
    tidy = Tidy(figure)
    bins = _bins(tidy)
    edges = [edge for _, rows in bins for low, high, _ in rows for edge in (low, high)]
    ends = (min(edges), max(edges)) if max(edges) > min(edges) else domain(edges)
    x = Scale(*((0.0, 1.0) if is_share(edges) else ends), 62, 522)
    plot = Plot(x, Scale(0, 1, 214, 14))
    strip = _histogram(bins, plot, words, words.maybe(tidy.name("y")))
    return drawing(
        522 + (NAMES if tidy.has("series") else 16),
        214 + 48,
        strip,
        _x_ticks(plot, words.maybe(tidy.name("x") if tidy.has("x") else "value")),
    )


def histogram_below(figure: Figure, words: Words, above: Plot, x_title: Both) -> tuple[Markup, float]:
    """A histogram on the x axis of the plot above it, and how much higher the picture becomes."""
    top, high = above.bottom + 16, 84.0
    plot = Plot(above.x, Scale(0, 1, top + high, top))
    strip = _histogram(_bins(Tidy(figure)), plot, words, None)
    return Markup("").join([strip, _x_ticks(plot, x_title)]), high + 16


def _bins(tidy: Tidy) -> list[tuple[Scalar, list[Bin]]]:
    """(left edge, right edge, count) of each series: from the columns on low and high, else centres on x."""
    counts = tidy.numbers("y")
    if tidy.has("low") and tidy.has("high"):
        lows, highs = tidy.numbers("low"), tidy.numbers("high")
    else:
        centres = tidy.numbers("x")
        known = sorted({value for value in centres if value is not None})
        half = min((b - a for a, b in pairwise(known)), default=1.0) / 2
        lows = [None if value is None else value - half for value in centres]
        highs = [None if value is None else value + half for value in centres]
    names = tidy.cells("series") if tidy.has("series") else [None] * len(counts)
    out: dict[Scalar, list[Bin]] = {}
    for name, low, high, count in zip(names, lows, highs, counts, strict=True):
        if low is not None and high is not None and count is not None:
            out.setdefault(name, []).append((low, high, count))
    return list(out.items())


def _histogram(bins: Sequence[tuple[Scalar, list[Bin]]], plot: Plot, words: Words, y_title: Both | None) -> Markup:
    mirrored = len(bins) == 2
    most = [max((count for _, _, count in rows), default=0.0) for _, rows in bins]
    up = max(most[:1] if mirrored else most, default=0.0)
    down = most[1] if mirrored else 0.0
    y = Scale(-down if up + down else 0.0, up if up + down else 1.0, plot.bottom, plot.top)
    parts = []
    for k, (_, rows) in enumerate(bins):
        way = -1 if mirrored and k == 1 else 1
        for low, high, count in rows:
            a, b = plot.x.clipped(low), plot.x.clipped(high)
            y0, y1 = sorted((y(0), y(way * count)))
            parts.append(
                element(
                    "rect", x=a + 0.5, y=y0, width=max(0.5, b - a - 1), height=y1 - y0, class_=f"bar {SERIES[k % 6]}"
                )
            )
    parts.append(line(plot.left, y(0), plot.right, y(0), "zero"))
    for k, (name, _) in enumerate(bins):
        if name is not None:
            y_at = y(0) + (-4, 13)[k] if mirrored else plot.top + 10 + 15 * k
            label = shortened(words.series(name), NAMES - 12)
            parts.append(text(plot.right + 8, y_at, label, class_=f"name {SERIES[k % 6]}"))
    parts.append(text(plot.left - 7, plot.top + 9, plain(int(up)), class_="tick", anchor="end"))
    if mirrored:
        parts.append(text(plot.left - 7, plot.bottom, plain(int(down)), class_="tick", anchor="end"))
    if y_title is not None:
        parts.append(text(14, (plot.top + plot.bottom) / 2, y_title, class_="title", anchor="middle", turn=-90))
    return Markup("").join(parts)


def _bar(
    x: Scale, y: float, thick: float, value: float, limits: tuple[float | None, float | None], colour: str
) -> Markup:
    a, b = sorted((x(0), x(value)))
    parts = [element("rect", x=a, y=y, width=max(b - a, 0.75), height=thick, class_=f"bar {colour}")]
    low, high = limits
    if low is not None and high is not None:
        middle = y + thick / 2
        parts.append(line(x(low), middle, x(high), middle, "whisker ink"))
        parts.extend(line(x(limit), middle - 3, x(limit), middle + 3, "whisker ink") for limit in (low, high))
    return Markup("").join(parts)


def _grid(plot: Plot) -> Markup:
    ticks, _ = plot.x.ticks(4)
    return Markup("").join(line(plot.x(value), plot.top, plot.x(value), plot.bottom, "grid") for value in ticks)


def _x_ticks(plot: Plot, title: Both) -> Markup:
    ticks, step = plot.x.ticks(5)
    parts = [line(plot.left, plot.bottom, plot.right, plot.bottom, "axis")]
    for value in ticks:
        parts.append(line(plot.x(value), plot.bottom, plot.x(value), plot.bottom + 4, "axis"))
        parts.append(text(plot.x(value), plot.bottom + 17, tick_text(value, step), class_="tick", anchor="middle"))
    parts.append(text((plot.left + plot.right) / 2, plot.bottom + 36, title, class_="title", anchor="middle"))
    return Markup("").join(parts)


def _key(groups: Sequence[tuple[Scalar, list[int]]], words: Words, left: float) -> Markup:
    parts, x = [], left
    for k, (name, _) in enumerate(groups):
        label = shortened(words.series(name), 140)
        parts.append(element("rect", x=x, y=8.0, width=11.0, height=11.0, class_=f"bar {SERIES[k % len(SERIES)]}"))
        parts.append(text(x + 16, 18, label, class_=f"name {SERIES[k % len(SERIES)]}"))
        x += width_of(label) + 34
    return Markup("").join(parts)
