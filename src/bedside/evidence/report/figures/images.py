"""Pictures side by side on black, each with what is said of it below."""

from __future__ import annotations

import re

from markupsafe import Markup

from bedside.evidence.estimate import Figure, Scalar
from bedside.evidence.report.figures.tidy import Tidy, number
from bedside.evidence.report.numbers import fixed
from bedside.evidence.report.svg import drawing, element, shortened, text, width_of
from bedside.evidence.report.words import Both, Words, clean

MOST = 24
SIDE, GAP = 150.0, 18.0
ACROSS = 6  # pictures in a line
UNDER = 42.0
COLON = Both(": ", "：")
_EMBEDDED = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


def draw(figure: Figure, words: Words) -> Markup | None:
    """PNG data URIs (axis image), beside each its plain picture (axis plain) where there is one; below them label (y),
    number (value), which or how many (x), and what is true (truth).

    At most 24; anything but an embedded PNG is left out: a report asks nobody for anything.
    """
    tidy = Tidy(figure)
    axes = [axis for axis in ("plain", "image") if tidy.has(axis)]
    rows = [i for i in range(len(tidy.cells("image"))) if all(_embedded(tidy.cells(axis)[i]) for axis in axes)]
    if not rows:
        return None
    across = ACROSS // len(axes)
    wide, high = SIDE * len(axes), SIDE + UNDER
    parts = []
    for place, i in enumerate(rows[:MOST]):
        x, y = (place % across) * (wide + GAP), (place // across) * (high + GAP)
        parts.append(element("rect", x=x, y=y, width=wide, height=SIDE, fill="#000"))
        for k, axis in enumerate(axes):
            href = str(tidy.cells(axis)[i])
            parts.append(element("image", href=href, x=x + k * SIDE, y=y, width=SIDE, height=SIDE))
        value = number(tidy.cells("value")[i])
        said = "" if value is None else "p = " + fixed(value, 2)
        label = shortened(words.label(tidy.cells("y")[i]), wide - width_of(said) - 10)
        parts.append(text(x, y + SIDE + 17, label, class_="strong"))
        if said:
            parts.append(text(x + wide, y + SIDE + 17, said, class_="number", anchor="end"))
        parts.append(text(x, y + SIDE + 33, shortened(_which(tidy, i, words), wide), class_="tick"))
    shown = len(rows[:MOST])
    lines = -(-shown // across)
    return drawing(min(shown, across) * (wide + GAP) - GAP, lines * (high + GAP) - GAP, *parts)


def _embedded(cell: Scalar) -> bool:
    return isinstance(cell, str) and _EMBEDDED.fullmatch(cell) is not None


def _which(tidy: Tidy, row: int, words: Words) -> Both:
    """Which row it is, or of how many images, and its truth where that is told."""
    name, cell = tidy.name("x"), clean(tidy.cells("x")[row])
    out = words.maybe(name) + (f" {cell}" if name == "row" else COLON + cell)
    if tidy.has("truth") and tidy.cells("truth")[row] is not None:
        out = out + " · " + words.maybe(tidy.name("truth")) + COLON + words.label(tidy.cells("truth")[row])
    return out
