"""A step in one file: pull outliers in to quantiles learnt on the training part (Tukey 1962, after C. P. Winsor)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.prepare.steps.base import FittedStep, chosen, observed


@dataclass
class Winsorise(FittedStep):
    """Values of number inputs beyond the quantiles `tail` and 1 − `tail` of train become those; missing stays missing.

    `FittedStep` saves the parameters and `state_` as JSON, and loads them.
    """

    tail: float = 0.01

    name: ClassVar[str] = "winsorise"
    main: ClassVar[str] = "tail"  # so that a plan may write {winsorise: 0.02}

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn both quantiles of each number input that has a value."""
        self.state_ = {
            item.name: np.quantile(values, (self.tail, 1 - self.tail)).tolist()
            for item, values in observed(train, chosen(train, ("number",), None))
            if len(values) > 0
        }
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with outliers pulled in; raises DataError when a learnt field is missing."""
        self.require(cohort, self.state)
        return cohort.with_columns({name: cohort[name].clip(low, high) for name, (low, high) in self.state.items()})
