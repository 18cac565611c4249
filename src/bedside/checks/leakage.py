"""Leakage: an input that alone tells the answer is more likely a leak than a discovery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bedside.checks.assemble import finding
from bedside.checks.protocol import Fit, LooksAt, Needs
from bedside.checks.single_field import AUROC, Alone, class_alone, number_alone
from bedside.cohort.cohort import Cohort
from bedside.errors import PlanError
from bedside.evidence.estimate import Evidence, Finding
from bedside.models.predictions import Predictions
from bedside.models.protocol import Model
from bedside.models.task import Classify, Task

STOP, CAUTION = 0.99, 0.95
FINDINGS = {
    "value": "leak_suspected",
    "level": "leak_suspected_level",
    "missing": "leak_suspected_missing",
    "rank": "leak_suspected_rank",
}


class Leakage:
    """Each input alone against the target, and its pattern of missing values alone.

    The lower end of the interval of its AUROC (in either direction; each class against the rest) from 0.99 on stops,
    from 0.95 on cautions. A yes/no pattern there exactly when the class is stops at any n, once the chance of such a
    coincidence among all fields is below 1e-6. For a number to predict, Spearman's correlation takes the AUROC's
    place. `allow` names fields known to be so: their finding is a caution that says it was waived. `shown` is how many
    of the strongest are estimates.
    """

    name: ClassVar[str] = "leakage"
    needs: ClassVar[Needs] = "predictions"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    metrics: ClassVar[tuple[str, ...]] = (*AUROC.values(), "single_field_spearman")
    looks_at: ClassVar[LooksAt] = "inputs"
    main: ClassVar[str] = "allow"

    def __init__(self, allow: Sequence[str] | str = (), shown: int = 10) -> None:
        self.allow = allow
        self.shown = shown

    def __call__(
        self,
        predictions: Predictions | None,
        cohort: Cohort,
        *,
        task: Task,
        seed: int,
        level: float = 0.95,
        model: Model | None = None,
        fit: Fit | None = None,
        reference: dict[str, Predictions] | None = None,
    ) -> Evidence:
        """Findings and the strongest fields; the cohort alone is looked at. Raises PlanError for an unknown `allow`."""
        allow = [self.allow] if isinstance(self.allow, str) else list(self.allow)
        unknown = [name for name in allow if name not in cohort.schema]
        if unknown:
            raise PlanError(f"leakage: allow names fields that do not exist: {unknown}", "correct or remove them")
        if isinstance(task, Classify):
            found = class_alone(cohort, task, level, self.shown)
        else:
            found = number_alone(cohort, task, level, self.shown)
        findings = [said for each in found if (said := _judge(each, allow)) is not None]
        if not findings:
            fields = sum("target" not in item.roles for item in cohort.schema.inputs)
            findings = [finding("leak_none", n=fields)]
        return Evidence(self.name, tuple(each.estimate for each in found[: self.shown]), (), tuple(findings))


def _judge(found: Alone, allow: Sequence[str]) -> Finding | None:
    estimate = found.estimate
    if estimate.value is None or estimate.low is None or estimate.high is None or estimate.at is None:
        return None
    nearest = estimate.low if estimate.value > 0 else -estimate.high  # a correlation may be negative
    if nearest < CAUTION and not found.exact:
        return None
    values = {**estimate.at, "value": estimate.value, "low": nearest, "n": estimate.n_rows}
    if estimate.at["field"] in allow:
        return finding("leak_waived", "caution", **values)
    severity = "stop" if found.exact or nearest >= STOP else "caution"
    return finding(FINDINGS[found.pattern], severity, **values)
