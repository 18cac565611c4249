"""SVG from numbers: scales, nice ticks, axes, bilingual text. Colours are classes, so a figure follows the theme.

Coordinates are pixels, y downwards. Everything that comes from data passes through `element`, which escapes it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bedside.evidence.report.numbers import tick_text
from bedside.evidence.report.words import LANGS, TAGS, Both

Attribute = str | float | None
SIZE = 12.0  # the height of text, in px
NARROW = 0.56  # of the height: how wide a character is that is not Chinese


def element(tag: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """`<tag attributes>children</tag>`, all escaped; `stroke_width` is written `stroke-width`, `class_` is `class`."""
    shown = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{tag}{shown}>{inner}</{tag}>" if inner else f"<{tag}{shown}/>")  # noqa: S704  # each part escaped


def text(
    x: float, y: float, content: Both | str, *, class_: str = "", anchor: str = "start", turn: float = 0
) -> Markup:
    """Text at a point, in both languages; `turn` in degrees, clockwise."""
    transform = f"rotate({turn:g} {_number(x)} {_number(y)})" if turn else None
    anchored = None if anchor == "start" else anchor

    def one(words: str, names: str, lang: str | None) -> Markup:
        return element(
            "text", words, x=x, y=y, class_=names.strip() or None, text_anchor=anchored, transform=transform, lang=lang
        )

    if isinstance(content, str):
        return one(content, class_, None)
    if content.en == content.zh:
        return one(content.en, class_, None)
    return Markup("").join(one(content[lang], f"{class_} {lang}", TAGS[lang]) for lang in LANGS)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, *, dash: str = "", close: bool = False) -> Markup:
    """A line through points, in px."""
    d = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if close else "")
    return element("path", d=d, class_=class_, stroke_dasharray=dash or None)


def width_of(content: Both | str, size: float = SIZE) -> float:
    """About how wide text is, in px: a wide (Chinese) character is as wide as high, another 0.56 of that."""
    words = [content] if isinstance(content, str) else [content.en, content.zh]
    wide = [sum(1.0 if unicodedata.east_asian_width(c) in "WF" else NARROW for c in each) for each in words]
    return max(wide) * size


def shortened(content: Both, width: float, size: float = SIZE) -> Both:
    """The text cut with an ellipsis to fit a width in px."""

    def cut(words: str) -> str:
        if width_of(words, size) <= width:
            return words
        words = words[: int(width / (NARROW * size)) + 1]  # no more can fit; a name may be ten thousand characters long
        while words and width_of(words + "…", size) > width:
            words = words[:-1]
        return words + "…"

    return Both(cut(content.en), cut(content.zh))


@dataclass(frozen=True)
class Scale:
    """A linear map from data [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clipped(self, value: float) -> float:
        """The pixel of a value, held inside the axis."""
        return self(min(max(value, self.low), self.high))

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> tuple[list[float], float]:
        """Round values on the axis, and their step."""
        step = nice_step(self.low, self.high, about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)], step


def nice_step(low: float, high: float, about: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that makes at most `about` + 1 ticks. Source: Heckbert 1990."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


def domain(values: Sequence[float], *, about: int = 5, zero: bool = False) -> tuple[float, float]:
    """An axis that holds all values and ends on round ones; never empty. `zero` puts 0 on it."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(1.0, abs(low), abs(high)):
        pad = abs(low) * 0.1 if low else 1.0
        low, high = low - pad, high + pad
    step = 0.0
    while step != nice_step(low, high, about):  # ending on round values widens the axis, which may need a larger step
        step = nice_step(low, high, about)
        low, high = round(math.floor(low / step + 1e-9) * step, 12), round(math.ceil(high / step - 1e-9) * step, 12)
    return low, high


def is_share(values: Sequence[float]) -> bool:
    """Whether all values could be probabilities and fill most of 0–1, so that the axis should be 0–1."""
    return bool(values) and 0 <= min(values) <= 0.25 and 0.75 <= max(values) <= 1


@dataclass(frozen=True)
class Plot:
    """The box between two axes, in px: x grows to the right, y upwards."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """The left edge."""
        return self.x.start

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x.end

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y.start

    def point(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        return self.x(x), self.y(y)

    def axes(self, x_title: Both | None, y_title: Both | None, *, x_about: int = 5, y_about: int = 5) -> Markup:
        """Grid, ticks and titles; without an x title the ticks at the foot have no numbers."""
        out = []
        x_ticks, x_step = self.x.ticks(x_about)
        y_ticks, y_step = self.y.ticks(y_about)
        for value in y_ticks:
            y = self.y(value)
            out.append(line(self.left, y, self.right, y, "grid"))
            out.append(text(self.left - 7, y + 4, tick_text(value, y_step), class_="tick", anchor="end"))
        for value in x_ticks:
            x = self.x(value)
            out.append(line(x, self.bottom, x, self.bottom + 4, "axis"))
            if x_title is not None:
                out.append(text(x, self.bottom + 17, tick_text(value, x_step), class_="tick", anchor="middle"))
        out.append(line(self.left, self.bottom, self.right, self.bottom, "axis"))
        if self.y.low < 0 < self.y.high:
            out.append(line(self.left, self.y(0), self.right, self.y(0), "zero"))
        if x_title is not None:
            middle = (self.left + self.right) / 2
            out.append(text(middle, self.bottom + 36, x_title, class_="title", anchor="middle"))
        if y_title is not None:
            middle = (self.top + self.bottom) / 2
            out.append(text(14, middle, y_title, class_="title", anchor="middle", turn=-90))
        return Markup("").join(out)


def drawing(width: float, height: float, *parts: Markup, class_: str = "figure") -> Markup:
    """A whole SVG picture that scales down with the page; its name stands in the caption around it."""
    box = f"0 0 {_number(width)} {_number(height)}"
    return element("svg", *parts, viewBox=box, width=width, height=height, class_=class_, focusable="false")


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """A pixel with at most two decimals."""
    out = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if out in ("-0", "") else out
