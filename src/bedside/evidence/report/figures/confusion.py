"""The confusion matrix: counts by true and called class, shaded by their share of the true class."""

from __future__ import annotations

from markupsafe import Markup

from bedside.evidence.estimate import Figure
from bedside.evidence.report.figures.tidy import Tidy, number
from bedside.evidence.report.numbers import plain
from bedside.evidence.report.svg import drawing, element, shortened, text, width_of
from bedside.evidence.report.words import Words

MOST_CLASSES = 20


def draw(figure: Figure, words: Words) -> Markup:
    """True classes downwards (axis y), called ones across (x), the count on axis `value`; at most 20 classes."""
    tidy = Tidy(figure)
    names = list(dict.fromkeys([*tidy.cells("y"), *tidy.cells("x")]))[:MOST_CLASSES]
    counts = {
        (truth, call): number(n) or 0.0
        for truth, call, n in zip(tidy.cells("y"), tidy.cells("x"), tidy.cells("value"), strict=True)
    }
    labels = [shortened(words.label(name), 120) for name in names]
    cell = 84.0 if len(names) <= 4 else 56.0
    high = cell * 0.6
    left = max(width_of(label) for label in labels) + 44
    top = 52.0
    parts = [
        text(left + cell * len(names) / 2, 16, words.maybe(tidy.name("x")), class_="title", anchor="middle"),
        text(14, top + high * len(names) / 2, words.maybe(tidy.name("y")), class_="title", anchor="middle", turn=-90),
    ]
    for i, (truth, label) in enumerate(zip(names, labels, strict=True)):
        middle = top + high * (i + 0.5)
        parts.append(text(left - 10, middle + 4, label, class_="tick", anchor="end"))
        short = shortened(label, cell - 6)
        parts.append(text(left + cell * (i + 0.5), 40, short, class_="tick", anchor="middle"))
        total = sum(counts.get((truth, call), 0.0) for call in names)
        for k, call in enumerate(names):
            n = counts.get((truth, call), 0.0)
            x, share = left + cell * k, (n / total if total else 0.0)
            colour = "s1" if truth == call else "s2"
            parts.append(
                element(
                    "rect",
                    x=x + 1,
                    y=top + high * i + 1,
                    width=cell - 2,
                    height=high - 2,
                    class_=f"cell {colour}",
                    fill_opacity=round(0.5 * share, 3),
                )
            )
            parts.append(text(x + cell / 2, middle + 4, plain(int(n)), class_="number", anchor="middle"))
    return drawing(left + cell * len(names) + 10, top + high * len(names) + 10, *parts)
