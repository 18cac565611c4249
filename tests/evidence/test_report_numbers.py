"""How a number reads: the same everywhere, in both languages."""

from __future__ import annotations

import pytest

from bedside.evidence.estimate import Estimate
from bedside.evidence.glossary import Term, term
from bedside.evidence.report.numbers import at_text, bound_text, estimate_text, plain, tick_text

AUROC, PREVALENCE = term("auroc"), term("prevalence")


def estimate(value: float | None, low: float | None = None, high: float | None = None, **more: object) -> Estimate:
    attributes = {"n_rows": 512, "level": 0.95, **more}
    return Estimate(
        "auroc", value, low, high, exact=low is None, why_not=None if value is not None else "x", **attributes
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "en", "zh"),
    [
        (0.9123, 0.8841, 0.9391, "0.91 (0.88–0.94)", "0.91（0.88–0.94）"),
        (0.9123, 0.9101, 0.9145, "0.912 (0.910–0.914)", "0.912（0.910–0.914）"),  # as many decimals as n deserves
        (0.021, 0.009, 0.034, "0.021 (0.009–0.034)", "0.021（0.009–0.034）"),  # a small value keeps two digits
        (-0.13, -0.25, -0.02, "−0.13 (−0.25 to −0.02)", "−0.13（−0.25 至 −0.02）"),
        (-0.0001, -0.2, 0.2, "0.00 (−0.20 to 0.20)", "0.00（−0.20 至 0.20）"),  # never −0.00
        (1.0, 0.99, 1.0, "1.000 (0.990–1.000)", "1.000（0.990–1.000）"),
        (12.31, 11.52, 13.09, "12.3 (11.5–13.1)", "12.3（11.5–13.1）"),
        (1234.5, 1150.0, 1320.0, "1234 (1150–1320)", "1234（1150–1320）"),
        (20_123.0, 19_000.0, 21_500.0, "20,123 (19,000–21,500)", "20,123（19,000–21,500）"),
    ],
)
def test_value_and_interval(value: float, low: float, high: float, en: str, zh: str) -> None:
    item = estimate(value, low, high)
    assert estimate_text(item, AUROC, "en").replace("\u00a0", " ") == en + ", n = 512"
    assert estimate_text(item, AUROC, "zh").replace("\u00a0", " ") == zh + "，n = 512"


def test_a_fraction_whose_term_says_percent_reads_as_one() -> None:
    item = estimate(0.13912, 0.1287, 0.1502)
    assert estimate_text(item, PREVALENCE, n=False) == "13.9% (12.9–15.0%)"
    # A value that is in percent already is not multiplied again.
    assert estimate_text(estimate(13.912, 12.87, 15.02, unit="%"), PREVALENCE, n=False) == "13.9% (12.9–15.0%)"
    assert bound_text(0.05, PREVALENCE) == "5%"


def test_units_stand_beside_the_value() -> None:
    item = estimate(12.31, 11.52, 13.09, unit="mm[Hg]")
    assert estimate_text(item, None, n=False).replace("\u00a0", " ") == "12.3 mmHg (11.5–13.1)"
    assert (
        estimate_text(estimate(61.0, 58.6, 63.4, unit="a"), None, "zh", n=False).replace("\u00a0", " ")
        == "61 岁（59–63）"
    )


def test_what_is_counted_has_no_interval_and_no_decimals() -> None:
    count = Term("n", "metric", "n", "n", unit="{rows}")
    assert estimate_text(estimate(20_000.0, n_rows=None), count) == "20,000"


def test_what_is_not_known_is_a_dash() -> None:
    assert estimate_text(estimate(None), AUROC, n=False) == "—"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (True, "yes"),
        (7, "7"),
        (2012, "2012"),
        (20_000, "20,000"),
        (-3, "−3"),
        (0.123456, "0.123"),
        (1234.5678, "1235"),
        (3.0, "3"),
        (3.2e-9, "3.2e−09"),
        ("-", "-"),
    ],
)
def test_a_lone_value(value: object, shown: str) -> None:
    assert plain(value) == shown


def test_thresholds_and_ticks() -> None:
    assert bound_text(0.8, AUROC) == "0.80"
    assert bound_text(0.125, AUROC) == "0.125"
    assert bound_text(0.0, AUROC) == "0"
    assert bound_text(7.0, None) == "7"
    assert at_text(0.2) == "0.20"
    assert at_text(0.0125) == "0.0125"
    assert [tick_text(value, step) for value, step in [(0.2, 0.2), (-0.05, 0.05), (500, 250.0), (0.0, 0.5)]] == [
        "0.2",
        "−0.05",
        "500",
        "0.0",
    ]
