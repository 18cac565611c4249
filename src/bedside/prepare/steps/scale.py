"""Scale number fields by what the training part showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.prepare.steps.base import FittedStep, check_choice, chosen, observed, rebuilt


@dataclass
class Scale(FittedStep):
    """(x − centre) / width: `standard` (mean, SD), `robust` (median, IQR) or `minmax` (minimum, range).

    A constant field becomes 0. Fields that are only 0 and 1 in train (indicators, one-hot levels) stay as they are
    unless `binary`. Missing stays missing. SD has n in the denominator, quantiles are linear, as in scikit-learn.
    """

    how: str = "standard"
    fields: Sequence[str] | None = None
    binary: bool = False

    name: ClassVar[str] = "scale"
    main: ClassVar[str] = "how"

    def __post_init__(self) -> None:
        check_choice(self.name, "how", self.how, ("standard", "robust", "minmax"))

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn centre and width of each number field from its present values."""
        learnt: dict[str, list[float]] = {}
        for item, values in observed(train, chosen(train, ("number",), self.fields)):
            if self.binary or not _is_binary(values):
                centre, width = _centre_and_width(values, self.how)
                learnt[item.name] = [centre, width]
        self.state_ = {"fields": learnt}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The scaled cohort; scaled fields lose unit and range."""
        learnt = self.state["fields"]
        self.require(cohort, learnt)
        return rebuilt(
            cohort,
            {
                name: [
                    (
                        replace(cohort.schema[name], unit=None, low=None, high=None),
                        (pl.col(name) - centre) / width,
                    )
                ]
                for name, (centre, width) in learnt.items()
            },
        )


def _is_binary(values: NDArray[np.float64]) -> bool:
    return len(values) > 0 and bool(np.isin(values[[0, -1]], (0.0, 1.0)).all() and np.isin(values, (0.0, 1.0)).all())


def _centre_and_width(values: NDArray[np.float64], how: str) -> tuple[float, float]:
    """Centre and width of ascending values; width 1 where they do not vary, so that a constant becomes 0."""
    if len(values) == 0:
        return 0.0, 1.0
    if values[0] == values[-1]:
        return float(values[0]), 1.0
    if how == "standard":
        centre, width = float(np.mean(values)), float(np.std(values))
    elif how == "robust":
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        centre, width = float(middle), float(high - low)
    else:
        centre, width = float(values[0]), float(values[-1] - values[0])
    return centre, width if width > 0 else 1.0
