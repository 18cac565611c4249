"""How a number reads, in one place: `0.91 (0.88–0.94), n = 512`; in Chinese `0.91（0.88–0.94），n = 512`.

As many decimals as the interval deserves: its half-width shows one significant digit (two where the value would else
show one only), and a value below 10 at least two decimals (one for a percentage). Negative limits are joined by "to",
because a dash would read as a minus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bedside.evidence.estimate import Estimate, Scalar
from bedside.evidence.glossary import Lang, Term

MINUS = "\u2212"
DASH = "\u2013"
NONE = "\u2014"
_MOST = 6

# UCUM codes that people write otherwise.
_UNITS = {
    "1": "",
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "[degF]": "°F",
    "umol/L": "µmol/L",
    "ug/L": "µg/L",
    "10*9/L": "×10⁹/L",
    "10*12/L": "×10¹²/L",
    "m2": "m²",
    "kg/m2": "kg/m²",
    "a": "years",
    "mo": "months",
    "d": "days",
    "h": "hours",
}
_UNITS_ZH = {"a": "岁", "mo": "个月", "d": "天", "h": "小时"}


def plain(value: object, lang: Lang = "en") -> str:
    """A lone value: three significant digits, thousands apart from 10 000 on, − for minus, text as it is."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return {"en": ("no", "yes"), "zh": ("否", "是")}[lang][value]
    if isinstance(value, int):
        return _sign(f"{value:,}" if abs(value) >= 10_000 else str(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value.is_integer() and abs(value) < 1e15:
            return plain(int(value), lang)
        if abs(value) < 1e-6:
            return _sign(f"{value:.1e}")
        return fixed(value, max(0, _significant(abs(value), 3)))
    return str(value)


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals, thousands apart from 10 000 on, − for minus and never a negative zero."""
    out = f"{value:,.{decimals}f}" if abs(value) >= 10_000 else f"{value:.{decimals}f}"
    if float(out.replace(",", "")) == 0:
        out = out.lstrip("-")
    return _sign(out)


def unit_text(unit: str | None, lang: Lang = "en") -> str:
    """A UCUM unit as people write it; counts in braces, such as {rows}, have none."""
    if unit is None or unit.startswith("{"):
        return ""
    if lang == "zh" and unit in _UNITS_ZH:
        return _UNITS_ZH[unit]
    return _UNITS.get(unit, unit)


def decimals_of(value: float, low: float | None, high: float | None, *, percent: bool = False) -> int:
    """How many decimals a value and its interval deserve."""
    least = 1 if percent else 2
    scale = max(abs(x) for x in (value, low, high) if x is not None)
    if low is None or high is None or high <= low:
        return max(0, min(_MOST, _significant(scale, 3))) if scale >= 10 else least
    from_width = max(0, math.ceil(-math.log10((high - low) / 2) - 1e-9))
    from_value = _significant(abs(value), 2) if value else 0
    decimals = min(_MOST, max(from_width, min(from_width + 1, from_value)))
    return max(decimals, least) if scale < (100 if percent else 10) else decimals


def common_decimals(values: Sequence[float]) -> int:
    """Decimals for numbers that stand in one picture: three significant digits of the largest."""
    return max(0, _significant(max((abs(value) for value in values), default=0.0), 3))


def value_text(estimate: Estimate, term: Term | None, lang: Lang = "en") -> str:
    """The value with its unit, `0.91` or `12.3 mmHg`; — when it is not known."""
    value, _, _, decimals, suffix = _shown(estimate, term, lang)
    return NONE if value is None else fixed(value, decimals) + suffix


def interval_text(estimate: Estimate, term: Term | None, lang: Lang = "en") -> str:
    """The interval without brackets, `0.88–0.94`; empty when there is none."""
    _, low, high, decimals, suffix = _shown(estimate, term, lang)
    if low is None or high is None:
        return ""
    return _range(low, high, decimals, lang) + (suffix if suffix == "%" else "")


def estimate_text(estimate: Estimate, term: Term | None, lang: Lang = "en", *, n: bool = True) -> str:
    """`0.91 (0.88–0.94), n = 512`, the one way an estimate reads; — for a value that is not known."""
    out = value_text(estimate, term, lang)
    interval = interval_text(estimate, term, lang)
    if interval:
        out += f"（{interval}）" if lang == "zh" else f" ({interval})"
    if n and estimate.n_rows is not None:
        out += ("，" if lang == "zh" else ", ") + f"n\u00a0=\u00a0{plain(estimate.n_rows, lang)}"
    return out


def bound_text(bound: float, term: Term | None, lang: Lang = "en") -> str:
    """A gate's threshold, in the unit its metric is shown in."""
    if bound == 0:
        return "0"
    percent = _as_percent(None, term)
    shown = bound * 100 if percent else bound
    least = 0 if percent or (shown.is_integer() and abs(shown) >= 2) else 2
    decimals = max(least, len(f"{shown:.10g}".partition(".")[2]))
    return fixed(shown, decimals) + ("%" if percent else "")


def at_text(value: Scalar, lang: Lang = "en") -> str:
    """A threshold, time or class an estimate is taken at."""
    if isinstance(value, float) and not value.is_integer():
        return fixed(value, max(2, min(4, len(f"{value:.4g}".partition(".")[2]))))
    return plain(value, lang)


def tick_text(value: float, step: float) -> str:
    """An axis tick: the decimals of the step."""
    decimals = max(0, min(_MOST, -math.floor(math.log10(step) + 1e-9))) if step > 0 else 0
    return fixed(value, decimals)


def _shown(
    estimate: Estimate, term: Term | None, lang: Lang
) -> tuple[float | None, float | None, float | None, int, str]:
    """Value, low and high as shown, their decimals, and what follows the value."""
    percent = _as_percent(estimate.unit, term)
    factor = 100.0 if percent and estimate.unit != "%" else 1.0
    value, low, high = (None if x is None else x * factor for x in (estimate.value, estimate.low, estimate.high))
    if value is None:
        return None, None, None, 0, ""
    unit = estimate.unit if estimate.unit is not None else (term.unit if term is not None else None)
    if percent:
        return value, low, high, decimals_of(value, low, high, percent=True), "%"
    if estimate.exact and value.is_integer():
        decimals = 0
    else:
        decimals = decimals_of(value, low, high)
    suffix = unit_text(unit, lang)
    return value, low, high, decimals, f"\u00a0{suffix}" if suffix else ""


def _as_percent(unit: str | None, term: Term | None) -> bool:
    """A percentage: in its own unit, or a fraction whose term says that it reads as one."""
    return unit == "%" or (unit in (None, "1") and term is not None and term.unit == "%")


def _range(low: float, high: float, decimals: int, lang: Lang) -> str:
    joint = DASH if low >= 0 else ("\u00a0至\u00a0" if lang == "zh" else " to ")
    return f"{fixed(low, decimals)}{joint}{fixed(high, decimals)}"


def _significant(scale: float, digits: int) -> int:
    """Decimals that show so many significant digits of a positive number."""
    return digits - 1 if scale == 0 else min(_MOST, digits - 1 - math.floor(math.log10(scale)))


def _sign(text: str) -> str:
    return text.replace("-", MINUS)
