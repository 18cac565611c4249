"""The colours of a report, light and dark, as CSS variables. Text colours have a contrast of 4.5 on their grounds.

The series colours follow Okabe and Ito (2008), darkened or lightened for the ground, so that they stay apart under
every kind of colour blindness; lines differ in their dashes as well.
"""

from __future__ import annotations

LIGHT = {
    "ground": "#ffffff",
    "raised": "#f5f7f8",
    "line": "#d3dbdf",
    "grid": "#e8edef",
    "ink": "#16222a",
    "muted": "#4c5d67",
    "accent": "#0b5c7a",
    "pass": "#17693a",
    "pass-ground": "#e4f3ea",
    "fail": "#b0231b",
    "fail-ground": "#fceae8",
    "not-enough": "#7d5200",
    "not-enough-ground": "#fcf1d9",
    "s1": "#0068a3",
    "s2": "#b34700",
    "s3": "#00735a",
    "s4": "#8d3f80",
    "s5": "#5f666b",
    "s6": "#7a5f00",
}
DARK = {
    "ground": "#0d1216",
    "raised": "#161d22",
    "line": "#324049",
    "grid": "#212b31",
    "ink": "#e6edf0",
    "muted": "#a3b3bb",
    "accent": "#6fc7ea",
    "pass": "#6ed197",
    "pass-ground": "#10291b",
    "fail": "#ff8f85",
    "fail-ground": "#351614",
    "not-enough": "#f0c24f",
    "not-enough-ground": "#2e240c",
    "s1": "#5cb8ef",
    "s2": "#ffa065",
    "s3": "#43cfa8",
    "s4": "#e2a1d4",
    "s5": "#b4bbc0",
    "s6": "#e6d04a",
}
SERIES = ("s1", "s2", "s3", "s4", "s5", "s6")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 3")


def css() -> str:
    """The variables: light, dark where the system or the switch says so, and light again on paper."""
    return "\n".join(
        [
            f":root {{ color-scheme: light; {_variables(LIGHT)} }}",
            "@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) "
            f"{{ color-scheme: dark; {_variables(DARK)} }} }}",
            f":root[data-theme=dark] {{ color-scheme: dark; {_variables(DARK)} }}",
            "@media print { :root, :root:not([data-theme=light]), :root[data-theme=dark] "
            f"{{ color-scheme: light; {_variables(LIGHT)} }} }}",
        ]
    )


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
