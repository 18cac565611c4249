"""A figure's tidy table, read by axis: numbers, labels, series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from bedside.evidence.estimate import Figure, Scalar


def number(value: Scalar) -> float | None:
    """A cell as a finite number, or None."""
    if value is None or isinstance(value, str | bool):
        return None
    return float(value) if abs(float(value)) < float("inf") else None


@dataclass(frozen=True)
class Tidy:
    """A figure with its columns found by the axis they stand on."""

    figure: Figure

    def has(self, axis: str) -> bool:
        """Whether a column stands on an axis."""
        return axis in self.figure.axes

    def name(self, axis: str) -> str:
        """The column on an axis."""
        return self.figure.axes[axis]

    def cells(self, axis: str) -> Sequence[Scalar]:
        """The values on an axis."""
        return self.figure.columns[self.figure.axes[axis]]

    def numbers(self, axis: str) -> list[float | None]:
        """The values on an axis as numbers, None where there is none."""
        return [number(value) for value in self.cells(axis)]

    def numeric(self, axis: str) -> bool:
        """Whether an axis holds numbers only (and at least one)."""
        values = [value for value in self.cells(axis) if value is not None]
        return bool(values) and all(number(value) is not None for value in values)

    def known(self, *axes: str) -> list[float]:
        """All numbers there are on these axes."""
        return [value for axis in axes if self.has(axis) for value in self.numbers(axis) if value is not None]

    def series(self) -> list[tuple[Scalar, list[int]]]:
        """(name, rows) of each series in order of first appearance; one nameless series when there is no such axis."""
        if not self.has("series"):
            return [(None, list(range(len(self.cells("x")))))]
        out: dict[Scalar, list[int]] = {}
        for row, name in enumerate(self.cells("series")):
            out.setdefault(name, []).append(row)
        return list(out.items())

    def points(self, rows: Sequence[int], x: str = "x", y: str = "y") -> list[tuple[float, float]]:
        """The points of these rows that have both coordinates."""
        xs, ys = self.numbers(x), self.numbers(y)
        both = [(xs[row], ys[row]) for row in rows]
        return [cast(tuple[float, float], pair) for pair in both if None not in pair]
