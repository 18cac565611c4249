"""The tiny interval bar of a gate: the estimate's interval against its threshold."""

from __future__ import annotations

from markupsafe import Markup

from bedside.evidence.gates import Gate, Verdict
from bedside.evidence.report.svg import Scale, element, line, path

WIDE, HIGH, PAD = 190.0, 30.0, 8.0


def draw(gate: Gate, verdict: Verdict, value: float, low: float, high: float) -> Markup:
    """Threshold lines, the good side shaded, the interval with its point; the numbers stand beside it as text."""
    bounds = [bound for bound in (gate.low, gate.high) if bound is not None]
    first, last = min([low, value, *bounds]), max([high, value, *bounds])
    room = (last - first) * 0.18 or abs(last) * 0.1 or 0.1
    x = Scale(first - room, last + room, PAD, WIDE - PAD)
    good = (x(gate.low) if gate.low is not None else PAD), (x(gate.high) if gate.high is not None else WIDE - PAD)
    middle = HIGH / 2
    parts = [
        element("rect", x=PAD, y=4.0, width=WIDE - 2 * PAD, height=HIGH - 8, class_="track"),
        element("rect", x=good[0], y=4.0, width=good[1] - good[0], height=HIGH - 8, class_="good"),
        *(line(x(bound), 1, x(bound), HIGH - 1, "bound") for bound in bounds),
        line(x(low), middle, x(high), middle, f"interval {verdict}"),
        *(line(x(limit), middle - 5, x(limit), middle + 5, f"interval {verdict}") for limit in (low, high)),
        _point(x(value), middle, verdict),
    ]
    box = f"0 0 {WIDE:g} {HIGH:g}"
    return element("svg", *parts, viewBox=box, width=WIDE, height=HIGH, class_="gatebar", aria_hidden="true")


def _point(x: float, y: float, verdict: Verdict) -> Markup:
    """A circle that passed, a cross that failed, a hollow square that is undecided."""
    if verdict == "pass":
        return element("circle", cx=x, cy=y, r=5.0, class_="point pass")
    if verdict == "fail":
        crossed = [path([(x - 5, y - 5), (x + 5, y + 5)], "cross"), path([(x - 5, y + 5), (x + 5, y - 5)], "cross")]
        return Markup("").join(crossed)
    return element("rect", x=x - 4.5, y=y - 4.5, width=9.0, height=9.0, class_="point not_enough")
