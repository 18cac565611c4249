"""Figures: SVG drawn from the tidy tables of Evidence. One file a family; `draw` chooses by the figure's kind."""

from __future__ import annotations

from markupsafe import Markup

from bedside.evidence.estimate import Figure
from bedside.evidence.report.figures import bars, confusion, curves, forest, images
from bedside.evidence.report.words import Words

# The axes that a kind cannot do without.
NEEDS = {
    "line": ("x", "y"),
    "band": ("x", "y"),
    "steps": ("x", "y"),
    "scatter": ("x", "y"),
    "bar": ("x", "y"),
    "histogram": ("y",),
    "forest": ("x", "y", "low", "high"),
    "confusion": ("x", "y", "value"),
    "images": ("image", "x", "y", "value"),
}


def drawable(figure: Figure) -> bool:
    """Whether the kind is known here and each axis it needs is there and holds something."""
    if figure.kind not in NEEDS:
        return False
    needs = list(NEEDS[figure.kind])
    if figure.kind == "histogram":
        needs += ["low", "high"] if "low" in figure.axes else ["x"]
    return all(
        axis in figure.axes and any(cell is not None for cell in figure.columns[figure.axes[axis]]) for axis in needs
    )


def draw(figure: Figure, words: Words, below: Figure | None = None) -> Markup | None:
    """The picture of a figure, or None when it cannot be drawn; the table that the page shows beside it always is.

    `below` is a histogram that shares the x axis of a curve.
    """
    if not drawable(figure):
        return None
    if figure.kind == "bar":
        return bars.draw_bars(figure, words)
    if figure.kind == "histogram":
        return bars.draw_histogram(figure, words)
    if figure.kind == "forest":
        return forest.draw(figure, words)
    if figure.kind == "confusion":
        return confusion.draw(figure, words)
    if figure.kind == "images":
        return images.draw(figure, words)
    return curves.draw(figure, words, below)
