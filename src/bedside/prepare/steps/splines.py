"""Restricted cubic splines: a number field as a smooth curve that is straight beyond its outer knots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.run import Run
from bedside.cohort.schema import Field
from bedside.errors import PlanError
from bedside.prepare.steps.base import FittedStep, chosen, observed, rebuilt

# Quantiles of the knots: Harrell, Regression Modeling Strategies, 2nd ed. (2015), table 2.3.
QUANTILES = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}


@dataclass
class Splines(FittedStep):
    """Each number input x keeps its linear term and gains knots − 2 cubic ones, `<x>'`, `<x>''`, `<x>'''`.

    Term j is [(x − tⱼ)₊³ − (x − tₖ₋₁)₊³ (tₖ − tⱼ)/(tₖ − tₖ₋₁) + (x − tₖ)₊³ (tₖ₋₁ − tⱼ)/(tₖ − tₖ₋₁)] / (tₖ − t₁)²,
    k = `knots` (3 to 5) at Harrell's quantiles of train. A field with fewer than `min_distinct` distinct values, or
    whose knots would coincide, stays linear. Missing stays missing.
    """

    knots: int = 4
    fields: Sequence[str] | None = None
    min_distinct: int = 10

    name: ClassVar[str] = "splines"
    main: ClassVar[str] = "knots"

    def __post_init__(self) -> None:
        if self.knots not in QUANTILES:
            raise PlanError(f"step 'splines': {self.knots!r} knots", "3, 4 or 5")

    def fit(self, train: Cohort, *, run: Run) -> Self:
        """Learn the knots of each field."""
        learnt: dict[str, list[float]] = {}
        for item, values in observed(train, chosen(train, ("number",), self.fields)):
            if len(values) == 0 or np.count_nonzero(np.diff(values)) + 1 < self.min_distinct:
                continue
            knots = np.quantile(values, QUANTILES[self.knots])
            if (np.diff(knots) > 0).all():
                learnt[item.name] = [float(knot) for knot in knots]
        self.state_ = {"knots": learnt}
        return self

    def apply(self, cohort: Cohort) -> Cohort:
        """The cohort with the cubic terms beside their field."""
        learnt = self.state["knots"]
        self.require(cohort, learnt)
        changed: dict[str, list[tuple[Field, pl.Expr]]] = {}
        for name, knots in learnt.items():
            item = cohort.schema[name]
            changed[name] = [(item, pl.col(name))]
            terms = cubic_terms(cohort.frame[name].to_numpy(), np.array(knots))
            for j, values in enumerate(terms.T, start=1):
                new = replace(item, name=name + "'" * j, unit=None, low=None, high=None, roles=("input",))
                changed[name].append((new, pl.lit(pl.Series(values, nan_to_null=True))))
        return rebuilt(cohort, changed)


def cubic_terms(x: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The k − 2 nonlinear terms of a restricted cubic spline, shape (rows, k − 2); NaN stays NaN.

    Harrell, Regression Modeling Strategies, 2nd ed., eq. 2.25, normalised by (tₖ − t₁)² as in R's rms::rcspline.eval.
    """
    before, last = knots[-2], knots[-1]

    def cubed(knot: float) -> NDArray[np.float64]:
        return np.maximum(x - knot, 0.0) ** 3

    terms = [
        cubed(knot) - cubed(before) * (last - knot) / (last - before) + cubed(last) * (before - knot) / (last - before)
        for knot in knots[:-2]
    ]
    scaled: NDArray[np.float64] = np.column_stack(terms) / (last - knots[0]) ** 2
    return scaled
