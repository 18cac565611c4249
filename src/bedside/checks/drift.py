"""Drift: what comes in, and what is answered, against what training and test showed; an alarm for each field.

An alarm is three-valued, judged on the interval as a gate is: `pass` (the shift is tolerable), `fail` (it is not),
`not_enough` (too few patients to say). Intervals hold together over all that is looked at (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from bedside.checks.assemble import attempt, finding
from bedside.cohort.cohort import Cohort
from bedside.evidence.estimate import Estimate, Evidence, Finding
from bedside.evidence.gates import Gate, Verdict, judge_estimate
from bedside.evidence.metrics.drift import cohens_w, ks, ks_to_quantiles, psi, share_difference
from bedside.evidence.metrics.interval import Interval
from bedside.evidence.metrics.multiplicity import family_level

# What is tolerable: a Kolmogorov-Smirnov distance of 0.2 is a shift by half a standard deviation (normal), an index of
# 0.25 what scorecards call a major shift (Siddiqi 2006), a tenth more or fewer values missing.
TOLERABLE = (
    Gate("drift_ks", high=0.2),
    Gate("drift_psi", high=0.25),
    Gate("drift_missing", low=-0.1, high=0.1),
)
PART = "external"
OTHER = "\0other"

_Try = tuple[str, str, Callable[..., Interval]]


@dataclass(frozen=True)
class Alarm:
    """Whether what was watched (a field, a column of the predictions) has drifted, and the estimate that says so."""

    watched: str
    verdict: Verdict
    estimate: Estimate


@dataclass(frozen=True)
class Drift:
    """The evidence of drift, and an alarm for each estimate that has a tolerance."""

    evidence: Evidence
    alarms: tuple[Alarm, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        alarms = [{"watched": a.watched, "verdict": a.verdict, "metric": a.estimate.metric} for a in self.alarms]
        return {"format": 1, "evidence": self.evidence.to_json(), "alarms": alarms}


def input_drift(
    observed: Mapping[str, Mapping[str, Any]], n_reference: int, cohort: Cohort, *, level: float = 0.95
) -> Drift:
    """Cleaned rows against what the training part showed of each input (`models.observed`); `n_reference` counts its
    patients. Numbers by the distance to its quantiles, categories by index and χ², all by what is missing."""
    tries: list[_Try] = []
    n = cohort.n_subjects
    for name, seen in observed.items():
        if name not in cohort.schema:
            continue
        column = cohort[name]
        known = column.drop_nulls()
        missing = partial(share_difference, column.null_count(), len(column), float(seen["missing"]))
        tries.append((name, "drift_missing", missing))
        if "quantiles" in seen:
            values = known.to_physical().cast(pl.Float64).to_numpy()
            levels = np.linspace(0, 1, len(seen["quantiles"]))
            tries.append((name, "drift_ks", partial(ks_to_quantiles, values, levels, seen["quantiles"])))
        shares = _shares_of(seen)
        if shares:
            told = known.cast(pl.String)
            told = pl.select(pl.when(told.is_in(list(shares))).then(told).otherwise(pl.lit(OTHER))).to_series()
            found = dict(told.value_counts().iter_rows())
            counts = [found.get(each, 0) for each in shares]
            tries += [(name, key, partial(of, counts, list(shares.values()))) for key, of in _OF_SHARES]
    return _judged("input_drift", "field", tries, n, n_reference, len(cohort), level)


def output_drift(
    scores: Mapping[str, Sequence[float]],
    reference: Mapping[str, Sequence[float]],
    *,
    n: int,
    n_reference: int,
    level: float = 0.95,
) -> Drift:
    """Predictions against those that the release holds of its test part, column by column; n count patients."""
    tries = [(name, "drift_ks", partial(ks, values, reference[name])) for name, values in scores.items()]
    return _judged("output_drift", "output", tries, n, n_reference, max(map(len, scores.values()), default=0), level)


_OF_SHARES: tuple[tuple[str, Callable[..., Interval]], ...] = (("drift_psi", psi), ("drift_w", cohens_w))


def _shares_of(seen: Mapping[str, Any]) -> dict[str, float]:
    """The reference's share of each level, with what was too rare to be listed as one more; {} for no categories."""
    if "true" in seen:
        return {"true": float(seen["true"]), "false": 1 - float(seen["true"])}
    levels = {str(name): float(share) for name, share in seen.get("levels", {}).items()}
    return {**levels, OTHER: max(0.0, 1 - sum(levels.values()))} if levels else {}


def _judged(check: str, what: str, tries: Sequence[_Try], n: int, n_reference: int, n_rows: int, level: float) -> Drift:
    estimates: list[Estimate] = []
    alarms: list[Alarm] = []
    said: list[Finding] = []
    shared = family_level(level, max(1, len(tries)))
    counts = {"n_rows": n_rows, "n_subjects": n}
    for watched, metric, compute in tries:
        measure = partial(compute, n=n, n_reference=n_reference, level=shared)
        made = attempt(metric, measure, shared, otherwise=counts, at={what: watched}, part=PART)
        estimates.append(made)
        gate = next((each for each in TOLERABLE if each.metric == metric), None)
        if gate is None:
            continue
        verdict = judge_estimate(gate, made)
        alarms.append(Alarm(watched, verdict, made))
        if verdict == "fail" and made.value is not None:
            told = {"watched": watched, "low": made.low, "high": made.high, "n": n}
            said.append(finding(f"{metric}_alarm", "caution", value=made.value, **told))
    undecided = sum(alarm.verdict == "not_enough" for alarm in alarms)
    if undecided:
        said.append(finding("drift_undecided", "info", count=undecided, n=n))
    if not said:
        said.append(finding("drift_none", "info", count=len(alarms), n=n))
    return Drift(Evidence(check, tuple(estimates), (), tuple(said)), tuple(alarms))
