"""Figures: a known point lands where the axis says, in every kind of picture, and labels cannot do harm."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from bedside.evidence.estimate import Figure
from bedside.evidence.gates import Gate
from bedside.evidence.report.figures import draw
from bedside.evidence.report.figures import gate as gate_bar
from bedside.evidence.report.palette import DARK, LIGHT, SERIES
from bedside.evidence.report.svg import Scale, domain, nice_step
from bedside.evidence.report.words import Words

Point = tuple[float, float]


def parsed(figure: Figure, below: Figure | None = None) -> ET.Element:
    svg = draw(figure, Words(), below)
    assert svg is not None
    return ET.fromstring(svg)  # noqa: S314  # our own output, and it must be well-formed


def having(svg: ET.Element, tag: str, *classes: str) -> list[ET.Element]:
    return [each for each in svg.iter(tag) if set(classes) <= set((each.get("class") or "").split())]


def number(text: str | None) -> float:
    return float((text or "").replace("−", "-").replace(",", ""))


def ticks(svg: ET.Element, *, vertical: bool) -> list[Point]:
    """(value, pixel) of the ticks of an axis, read from their text alone."""
    anchor = "end" if vertical else "middle"
    found = []
    for each in having(svg, "text", "tick"):
        if each.get("text-anchor") == anchor and re.fullmatch(r"[−\d.,]+", each.text or ""):
            # Text on the vertical axis stands 4 px below the line it names.
            found.append((number(each.text), float(each.get("y", 0)) - 4 if vertical else float(each.get("x", 0))))
    return found


def axis(found: Sequence[Point]) -> Scale:
    """The map from values to pixels that the first and last tick imply; the others must agree with it."""
    (low, start), (high, end) = min(found), max(found)
    scale = Scale(low, high, start, end)
    assert all(scale(value) == pytest.approx(pixel, abs=0.02) for value, pixel in found)
    return scale


def points(path: ET.Element) -> list[Point]:
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in pairs]


def same(found: Sequence[Point], wanted: Sequence[Point]) -> bool:
    return len(found) == len(wanted) and bool(np.allclose(found, wanted, rtol=0, atol=0.02))


def roc(series: Sequence[str] | None = None) -> Figure:
    columns = {"false_positive_rate": [0.0, 0.2, 1.0], "true_positive_rate": [0.0, 0.8, 1.0]}
    axes = {"x": "false_positive_rate", "y": "true_positive_rate"}
    if series is not None:
        columns = {key: values * len(series) for key, values in columns.items()}
        return Figure(
            "roc", "line", {**columns, "series": [s for s in series for _ in range(3)]}, {**axes, "series": "series"}
        )
    return Figure("roc", "line", columns, axes)


class TestCurves:
    def test_a_point_lands_where_the_axes_say(self) -> None:
        svg = parsed(roc())
        x, y = axis(ticks(svg, vertical=False)), axis(ticks(svg, vertical=True))
        (line,) = having(svg, "path", "line")
        assert same(points(line), [(x(a), y(b)) for a, b in [(0, 0), (0.2, 0.8), (1, 1)]])

    def test_roc_is_square_over_0_to_1_with_the_diagonal(self) -> None:
        svg = parsed(roc())
        x, y = axis(ticks(svg, vertical=False)), axis(ticks(svg, vertical=True))
        assert (x.low, x.high, y.low, y.high) == (0, 1, 0, 1)
        assert x.end - x.start == pytest.approx(y.start - y.end)
        (diagonal,) = having(svg, "line", "reference")
        assert [float(diagonal.get(key, 0)) for key in ("x1", "y1", "x2", "y2")] == [x.start, y.start, x.end, y.end]

    def test_each_series_has_its_colour_its_dash_and_its_name(self) -> None:
        svg = parsed(roc(["model", "logistic"]))
        lines = [each for each in having(svg, "path", "line") if len(points(each)) > 2]
        assert [each.get("class") for each in lines] == ["line s1", "line s2"]
        assert lines[0].get("stroke-dasharray") != lines[1].get("stroke-dasharray")
        names = [each.text for each in having(svg, "text", "name")]
        assert {"Model", "模型", "logistic"} <= set(names)

    def test_calibration_has_ideal_line_band_and_histogram_on_one_axis(self) -> None:
        curve = Figure(
            "calibration_curve",
            "band",
            {"predicted_risk": [0.1, 0.5], "observed_risk": [0.2, 0.4], "low": [0.1, 0.3], "high": [0.3, 0.5]},
            {"x": "predicted_risk", "y": "observed_risk", "low": "low", "high": "high"},
        )
        strip = Figure(
            "risk_distribution",
            "histogram",
            {
                "low": [0.0, 0.5] * 2,
                "high": [0.5, 1.0] * 2,
                "count": [3, 9, 40, 2],
                "outcome": ["event"] * 2 + ["no_event"] * 2,
            },
            {"low": "low", "high": "high", "y": "count", "series": "outcome"},
        )
        svg = parsed(curve, strip)
        x, y = axis(ticks(svg, vertical=False)), axis([t for t in ticks(svg, vertical=True) if t[0] <= 1])
        assert len(having(svg, "line", "reference")) == 1
        (band,) = having(svg, "path", "band")
        corners = [(0.1, 0.3), (0.5, 0.5), (0.5, 0.3), (0.1, 0.1)]
        assert same(points(band), [(x(a), y(b)) for a, b in corners])
        bars = having(svg, "rect", "bar")
        assert [float(bar.get("x", 0)) for bar in bars] == pytest.approx([x(0) + 0.5, x(0.5) + 0.5] * 2, abs=0.02)
        assert min(float(bar.get("y", 0)) for bar in bars) > y(0), "the histogram stands underneath"
        heights = [float(bar.get("height", 0)) for bar in bars]
        assert heights[2] / heights[0] == pytest.approx(40 / 3, rel=0.02), "both outcomes have one scale"
        above, below = bars[0], bars[2]
        assert float(above.get("y", 0)) < float(below.get("y", 0)), "back to back"

    def test_numbers_are_calibrated_on_one_scale_for_both_axes(self) -> None:
        columns = {
            "predicted": [100.0, 140.0],
            "observed": [104.0, 133.0],
            "low": [101.0, 128.0],
            "high": [107.0, 138.0],
        }
        axes = {"x": "predicted", "y": "observed", "low": "low", "high": "high"}
        svg = parsed(Figure("calibration_means", "scatter", columns, axes))
        x, y = axis(ticks(svg, vertical=False)), axis(ticks(svg, vertical=True))
        assert (x.low, x.high) == (y.low, y.high)
        (ideal,) = having(svg, "line", "reference")
        assert float(ideal.get("x1", 0)) == pytest.approx(x(100)) and float(ideal.get("y1", 0)) == pytest.approx(y(100))
        dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in having(svg, "circle", "dot")]
        assert same(dots, [(x(100), y(104)), (x(140), y(133))])
        first = having(svg, "line", "whisker")[0]
        assert same([(float(first.get("y1", 0)), float(first.get("y2", 0)))], [(y(101), y(107))])

    def test_treating_all_leaves_a_decision_curve_at_its_lower_edge(self) -> None:
        t = [0.1, 0.3, 0.5, 0.7, 0.9]
        treat_all = [0.2 - 0.8 * x / (1 - x) for x in t]
        figure = Figure(
            "decision_curve",
            "line",
            {"threshold": t * 3, "net_benefit": [0.16, 0.12, 0.08, 0.05, 0.01, *treat_all, *[0.0] * 5],
             "series": ["model"] * 5 + ["treat_all"] * 5 + ["treat_none"] * 5},
            {"x": "threshold", "y": "net_benefit", "series": "series"},
        )  # fmt: skip
        svg = parsed(figure)
        y = axis(ticks(svg, vertical=True))
        assert y.low >= -0.1, "the axis does not follow treating all to −7"
        for each in having(svg, "path", "line"):
            assert all(y.end - 0.02 <= pixel <= y.start + 0.02 for _, pixel in points(each))
        names = {each.text for each in having(svg, "text", "name")}
        assert {"treat all", "全部干预", "treat none", "全不干预"} <= names

    def test_a_gap_in_the_data_is_not_bridged_by_a_crash(self) -> None:
        figure = Figure("x", "line", {"a": [0.0, None, 2.0], "b": [1.0, 2.0, None]}, {"x": "a", "y": "b"})
        assert draw(figure, Words()) is not None

    def test_steps_turn_at_right_angles(self) -> None:
        figure = Figure("x", "steps", {"a": [0.0, 1.0, 2.0], "b": [0.0, 1.0, 0.5]}, {"x": "a", "y": "b"})
        (line,) = having(parsed(figure), "path", "line")
        corners = points(line)
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(corners))

    def test_a_constant_column_still_has_an_axis(self) -> None:
        assert (
            draw(Figure("x", "scatter", {"a": [3.0, 3.0], "b": [0.0, 0.0]}, {"x": "a", "y": "b"}), Words()) is not None
        )


class TestBarsForestConfusion:
    def test_a_bar_is_as_long_as_its_value(self) -> None:
        figure = Figure("x", "bar", {"field": ["age", "sex"], "value": [0.8, 0.4]}, {"x": "field", "y": "value"})
        svg = parsed(figure)
        x = axis(ticks(svg, vertical=False))
        widths = [float(bar.get("width", 0)) for bar in having(svg, "rect", "bar")]
        assert widths == pytest.approx([x(0.8) - x(0), x(0.4) - x(0)], abs=0.02)

    def test_a_negative_bar_goes_the_other_way(self) -> None:
        figure = Figure("x", "bar", {"field": ["a", "b"], "value": [-1.0, 1.0]}, {"x": "field", "y": "value"})
        left, right = (float(bar.get("x", 0)) for bar in having(parsed(figure), "rect", "bar"))
        assert left < right

    def test_forest_shows_intervals_numbers_n_and_the_overall_line(self) -> None:
        figure = Figure(
            "forest",
            "forest",
            {
                "group": ["overall", "sex = F"],
                "auroc": [0.8, 0.7],
                "low": [0.75, 0.6],
                "high": [0.85, 0.9],
                "n": [100, 40],
            },
            {"y": "group", "x": "auroc", "low": "low", "high": "high"},
        )
        svg = parsed(figure)
        x = axis(ticks(svg, vertical=False))
        (overall,) = having(svg, "line", "reference")
        assert float(overall.get("x1", 0)) == pytest.approx(x(0.8), abs=0.02)
        (square,) = having(svg, "rect", "square")
        assert float(square.get("x", 0)) + 4 == pytest.approx(x(0.7), abs=0.02)
        (whole, *_) = having(svg, "line", "interval")
        assert (float(whole.get("x1", 0)), float(whole.get("x2", 0))) == pytest.approx((x(0.6), x(0.9)), abs=0.02)
        shown = [each.text for each in having(svg, "text", "number")]
        assert shown == ["0.80 (0.75–0.85)", "100", "0.70 (0.60–0.90)", "40"]
        assert "总体" in [each.text for each in having(svg, "text", "tick")]

    def test_confusion_puts_truth_downwards_and_calls_across(self) -> None:
        columns = {"truth": ["no", "no", "yes", "yes"], "call": ["no", "yes"] * 2, "count": [50, 7, 3, 20]}
        figure = Figure("confusion_matrix", "confusion", columns, {"x": "call", "y": "truth", "value": "count"})
        cells = {
            each.text: (float(each.get("x", 0)), float(each.get("y", 0)))
            for each in having(parsed(figure), "text", "number")
        }
        assert cells["50"][1] == cells["7"][1] < cells["3"][1]
        assert cells["50"][0] == cells["3"][0] < cells["7"][0]


class TestGateBar:
    def test_the_interval_stands_left_and_right_of_its_threshold(self) -> None:
        for low, high, verdict in [(0.7, 0.9, "not_enough"), (0.81, 0.9, "pass"), (0.5, 0.7, "fail")]:
            svg = ET.fromstring(gate_bar.draw(Gate("auroc", low=0.8), verdict, (low + high) / 2, low, high))  # noqa: S314
            (bound,) = having(svg, "line", "bound")
            interval = having(svg, "line", "interval")[0]
            x1, x2, threshold = (float(a.get(k, 0)) for a, k in [(interval, "x1"), (interval, "x2"), (bound, "x1")])
            assert (x1 < threshold, x2 < threshold) == (low < 0.8, high < 0.8)


HOSTILE = "<script>alert(1)</script>\"'&\u202egnp"


def everything(label: str) -> Iterator[Figure]:
    series = {"x": "a", "y": "b", "series": label}
    numbers: Mapping[str, list] = {"a": [0.0, 1.0], "b": [1.0, 2.0]}
    yield Figure("x", "line", {**numbers, label: [label, "b"]}, series)
    yield Figure("x", "scatter", {**numbers, label: [label, "b"]}, series)
    yield Figure("x", "bar", {label: [label], "v": [1.0]}, {"x": label, "y": "v"})
    yield Figure("x", "histogram", {"a": [1.0], "n": [4], label: [label]}, {"x": "a", "y": "n", "series": label})
    yield Figure(
        "x",
        "forest",
        {label: [label], "v": [1.0], "l": [0.5], "h": [2.0]},
        {"y": label, "x": "v", "low": "l", "high": "h"},
    )
    yield Figure("x", "confusion", {"t": [label], label: [label], "n": [1]}, {"x": label, "y": "t", "value": "n"})


@pytest.mark.parametrize("figure", list(everything(HOSTILE)), ids=lambda figure: figure.kind)
def test_a_hostile_label_is_text(figure: Figure) -> None:
    svg = draw(figure, Words())
    assert svg is not None and "<script" not in svg and "\u202e" not in svg
    tree = ET.fromstring(svg)  # noqa: S314
    assert "<script>" in "".join(tree.itertext()), "it is shown, as text"


@pytest.mark.parametrize(
    "figure",
    [
        Figure("x", "hologram", {"a": [1.0]}, {"x": "a", "y": "a"}),
        Figure("x", "line", {"a": [1.0], "b": [None]}, {"x": "a", "y": "b"}),
        Figure("x", "forest", {"a": [1.0]}, {"x": "a", "y": "a"}),
        Figure("x", "line", {"a": []}, {"x": "a", "y": "a"}),
    ],
    ids=["unknown kind", "nothing known", "axis missing", "empty"],
)
def test_what_cannot_be_drawn_is_said_and_not_guessed(figure: Figure) -> None:
    assert draw(figure, Words()) is None


class TestScales:
    @pytest.mark.parametrize(("low", "high", "step"), [(0, 1, 0.2), (0, 0.93, 0.2), (-3, 11, 5), (0, 4800, 1000)])
    def test_steps_are_1_2_or_5(self, low: float, high: float, step: float) -> None:
        assert nice_step(low, high) == pytest.approx(step)

    @pytest.mark.parametrize("values", [[0.6, 0.91], [-2.2, 2.8], [3.0, 3.0], [0.0], [], [-1e-7, 2e-7], [1e9, 3e9]])
    def test_an_axis_ends_on_ticks_and_holds_all(self, values: list[float]) -> None:
        low, high = domain(values)
        found, step = Scale(low, high, 0, 100).ticks()
        assert low < high and found[0] == pytest.approx(low) and found[-1] == pytest.approx(high, abs=step)
        assert all(low <= value <= high for value in values)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    brighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_a_contrast_of_4_5(colours: dict[str, str]) -> None:
    pairs = [(text, ground) for text in ("ink", "muted", "accent") for ground in ("ground", "raised")]
    for verdict in ("pass", "fail", "not-enough"):
        pairs += [
            (verdict, "ground"),
            (verdict, f"{verdict}-ground"),
            ("ink", f"{verdict}-ground"),
            ("muted", f"{verdict}-ground"),
        ]
    pairs += [("ground", "accent"), *((name, "ground") for name in SERIES)]
    assert [(a, b) for a, b in pairs if contrast(colours[a], colours[b]) < 4.5] == []
