"""Development size: how many patients developing such a model takes, and whether it had so many."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bedside.checks.assemble import exact, finding, two_classes_only
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.rows import known_rows
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Estimate, Evidence
from bedside.evidence.metrics.samplesize import development_size, max_r2_cox_snell
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

NEEDED = ("n_required_development", "n_required_shrinkage", "n_required_optimism", "n_required_overall_risk")
EXPLAINED = 0.15  # of the largest R², where nothing better is known: Riley 2020
FEW_PER_PARAMETER = 10


class DevelopmentSize:
    """Rows needed to develop by Riley's three criteria (BMJ 2020;368:m441), and events per parameter.

    `parameters`: candidate coefficients (by default one an input, a category one less than its levels). `n`: the rows
    learnt from (by default those the pipeline remembers; where neither is known, only what is needed is told).
    `r2_cox_snell`: the R² expected, by default 0.15 of the largest at the prevalence of these rows.
    """

    name: ClassVar[str] = "development_size"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify",)
    metrics: ClassVar[tuple[str, ...]] = (*NEEDED, "events_per_parameter")
    looks_at: ClassVar[LooksAt] = "inputs"

    def __init__(self, parameters: int | None = None, n: int | None = None, r2_cox_snell: float | None = None) -> None:
        self.parameters = parameters
        self.n = n
        self.r2_cox_snell = r2_cox_snell

    def __call__(
        self,
        predictions: Predictions,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Required sizes and findings. Raises PlanError for an impossible R² or count."""
        if not isinstance(task, Classify) or not task.binary:
            return two_classes_only(self.name)
        rows = known_rows(predictions, cohort, task)
        events = int(np.count_nonzero(rows.event))
        counts: dict[str, Any] = {**rows.counts(), "n_events": events}
        if events in (0, len(rows)):
            refused = Estimate("n_required_development", None, why_not="why_one_class", **counts)
            return Evidence(self.name, (refused,), (), rows.findings)
        prevalence = events / len(rows)
        parameters = candidate_parameters(cohort) if self.parameters is None else self.parameters
        r2 = EXPLAINED * max_r2_cox_snell(prevalence) if self.r2_cox_snell is None else self.r2_cox_snell
        try:
            size = development_size(parameters, prevalence, r2)
        except ValueError as error:
            raise PlanError(f"development_size: {error}", "correct r2_cox_snell or parameters") from None
        needed = dict(zip(NEEDED, (size.n, size.shrinkage, size.optimism, size.overall_risk), strict=True))
        at = {"parameters": parameters}
        estimates = [exact(metric, each, method="formula", at=at, **counts) for metric, each in needed.items()]
        n = _learnt_from(model) if self.n is None else self.n
        if n is None:
            said = finding("development_needs", n=size.n, events=size.events, parameters=parameters)
            return Evidence(self.name, tuple(estimates), (), (*rows.findings, said))
        per = min(prevalence, 1 - prevalence) * n / parameters
        estimates.append(exact("events_per_parameter", per, method="formula", at=at, **counts))
        small = n < size.n or per < FEW_PER_PARAMETER
        key, severity = ("development_too_small", "caution") if small else ("development_adequate", "info")
        said = finding(key, severity, n=n, needed=size.n, parameters=parameters, per_parameter=per)
        return Evidence(self.name, tuple(estimates), (), (*rows.findings, said))


def candidate_parameters(cohort: Cohort) -> int:
    """Coefficients of a linear model of the inputs: one each, of a category one less than its levels; at least 1."""
    total = 0
    for item in cohort.schema.inputs:
        if "target" in item.roles:
            continue
        if item.kind in ("category", "ordinal"):
            levels = cohort[item.name].drop_nulls().n_unique() if item.levels is None else len(item.levels)
            total += max(levels - 1, 1)
        else:
            total += 1
    return max(total, 1)


def _learnt_from(model: Model | None) -> int | None:
    """The rows a pipeline was fitted on."""
    from bedside.models.pipeline import Pipeline

    return model.fitted.n_rows if isinstance(model, Pipeline) else None
