"""Pictures side by side, each with what is said of it below."""

from __future__ import annotations

import re

from markupsafe import Markup

from bedside.evidence.estimate import Figure
from bedside.evidence.report.figures.tidy import Tidy, number
from bedside.evidence.report.numbers import fixed
from bedside.evidence.report.svg import drawing, element, shortened, text
from bedside.evidence.report.words import Words, clean

MOST = 24
SIDE, GAP, ACROSS = 132.0, 10.0, 4
_EMBEDDED = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


def draw(figure: Figure, words: Words) -> Markup | None:
    """PNG data URIs (axis image) four across, with label (y), number (value), and which or how many (x).

    At most 24; anything but an embedded PNG is left out: a report asks nobody for anything.
    """
    tidy = Tidy(figure)
    rows = [i for i, cell in enumerate(tidy.cells("image")) if isinstance(cell, str) and _EMBEDDED.fullmatch(cell)]
    if not rows:
        return None
    high = SIDE + 38.0
    parts = []
    for place, i in enumerate(rows[:MOST]):
        x, y = (place % ACROSS) * (SIDE + GAP), (place // ACROSS) * (high + GAP)
        parts.append(element("image", href=str(tidy.cells("image")[i]), x=x, y=y, width=SIDE, height=SIDE))
        value = number(tidy.cells("value")[i])
        label = shortened(words.label(tidy.cells("y")[i]), SIDE - 34)
        parts.append(text(x, y + SIDE + 15, label, class_="tick"))
        if value is not None:
            parts.append(text(x + SIDE, y + SIDE + 15, fixed(value, 2), class_="number", anchor="end"))
        which = words.maybe(tidy.name("x")) + f" {clean(tidy.cells('x')[i])}"
        parts.append(text(x, y + SIDE + 30, which, class_="tick"))
    shown = len(rows[:MOST])
    return drawing(min(shown, ACROSS) * (SIDE + GAP), -(-shown // ACROSS) * (high + GAP), *parts)
