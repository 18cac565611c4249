"""Decision curves: net benefit of treating by the model, all or none; interventions avoided.

At threshold t a patient is treated when p ≥ t (and p > 0: a risk of exactly 0 is never treated, as in R's dcurves); a
needless treatment costs t/(1-t) of a needed one. Net benefit
= true positives/n - false positives/n · t/(1-t) - harm. With a prevalence given (case-control data) the two rates are
sensitivity · prevalence and (1 - specificity) · (1 - prevalence). Source: Vickers and Elkin 2006; Vickers 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bedside.evidence.metrics.interval import z_value
from bedside.evidence.metrics.rows import Bools, Floats, Subjects, both_classes, labels, probabilities, sample_weights

LEAST = float(np.nextafter(0.0, 1.0))


@dataclass(frozen=True)
class NetBenefit:
    """A decision curve, every array (thresholds,). `model`, `all` and `none` are net benefits; `low`..`high` and `se`
    belong to the model. `tp_rate` and `fp_rate` are per patient."""

    threshold: Floats
    model: Floats
    low: Floats
    high: Floats
    se: Floats
    all: Floats
    none: Floats
    tp_rate: Floats
    fp_rate: Floats
    method: str


def net_benefit(
    y: ArrayLike,
    p: ArrayLike,
    thresholds: ArrayLike,
    *,
    prevalence: float | None = None,
    harm: float = 0.0,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> NetBenefit:
    """Net benefit over thresholds in [0, 1). `harm` is the cost of running the model, in needed treatments a patient.

    Intervals: influence function by subject, symmetric. Raises ValueError for a threshold outside [0, 1), or for one
    class with a prevalence given.
    """
    rows = _Rows.of(y, p, subject, weights, prevalence)
    at = _thresholds(thresholds)
    odds = at / (1 - at)
    tp, fp = rows.rates(at)
    model = tp - fp * odds - harm
    rate = rows.rate
    se = np.array([rows.se(rows.influence(t, with_all=False)) for t in at])
    half = z_value(level) * se
    method = "delta" + rows.subjects.suffix
    treat_all = rate - (1 - rate) * odds
    return NetBenefit(at, model, model - half, model + half, se, treat_all, np.zeros(len(at)), tp, fp, method)


@dataclass(frozen=True)
class Curve:
    """A quantity over thresholds with its pointwise interval, every array (thresholds,)."""

    threshold: Floats
    value: Floats
    low: Floats
    high: Floats
    se: Floats
    method: str


def net_benefit_difference(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike | None,
    thresholds: ArrayLike,
    *,
    prevalence: float | None = None,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Curve:
    """Net benefit of `first` minus that of `second` on the same rows; `second` None is treating all.

    Paired intervals by subject. Raises ValueError as `net_benefit`.
    """
    a = _Rows.of(y, first, subject, weights, prevalence)
    at = _thresholds(thresholds)
    odds = at / (1 - at)
    tp, fp = a.rates(at)
    if second is None:
        value = tp - a.rate - (fp - (1 - a.rate)) * odds
        se = np.array([a.se(a.influence(t, with_all=True)) for t in at])
    else:
        b = _Rows.of(y, second, subject, weights, prevalence)
        other_tp, other_fp = b.rates(at)
        value = tp - other_tp - (fp - other_fp) * odds
        se = np.array([a.se(a.influence(t, with_all=False) - b.influence(t, with_all=False)) for t in at])
    half = z_value(level) * se
    return Curve(at, value, value - half, value + half, se, "delta" + a.subjects.suffix)


def interventions_avoided(
    y: ArrayLike,
    p: ArrayLike,
    thresholds: ArrayLike,
    *,
    prevalence: float | None = None,
    harm: float = 0.0,
    per: float = 100.0,
    level: float = 0.95,
    subject: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Curve:
    """Net interventions avoided per `per` patients against treating all: (model - all) / (t/(1-t)), 0 < t < 1.

    Raises ValueError at t = 0, where nothing is weighed, and as `net_benefit`.
    """
    at = _thresholds(thresholds)
    if bool((at <= 0).any()):
        raise ValueError("interventions avoided are undefined at a threshold of 0")
    found = net_benefit_difference(y, p, None, at, prevalence=prevalence, level=level, subject=subject, weights=weights)
    scale = per * (1 - at) / at
    value = (found.value - harm) * scale
    low, high = (found.low - harm) * scale, (found.high - harm) * scale
    return Curve(at, value, low, high, found.se * scale, found.method)


def _thresholds(thresholds: ArrayLike) -> Floats:
    at = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if at.ndim != 1 or at.size == 0 or not bool(np.all((at >= 0) & (at < 1))):
        raise ValueError("thresholds must lie in [0, 1)")
    return at


@dataclass(frozen=True)
class _Rows:
    """Checked rows in the order given, and the share of each among rows with and without the event."""

    y: Bools
    p: Floats
    subjects: Subjects
    share: Floats  # weight of the row among all (sum 1)
    rate: float  # events per patient: observed, or the prevalence given
    by_class: bool  # whether the rates are taken within class and weighed by the prevalence

    @classmethod
    def of(
        cls, y: ArrayLike, p: ArrayLike, subject: ArrayLike | None, weights: ArrayLike | None, prevalence: float | None
    ) -> _Rows:
        checked = labels(y)
        n = len(checked)
        w = sample_weights(weights, n)
        share = np.full(n, 1 / n) if w is None else w / w.sum()
        rate = float(share[checked].sum()) if w is not None else np.count_nonzero(checked) / n
        if prevalence is not None:
            both_classes(checked, w)
            if not 0 < prevalence < 1:
                raise ValueError(f"prevalence must lie between 0 and 1, not {prevalence}")
        by_class = prevalence is not None
        return cls(
            checked,
            probabilities(p, n),
            Subjects.of(subject, n),
            share,
            rate if prevalence is None else prevalence,
            by_class,
        )

    @property
    def _scale(self) -> tuple[float, float]:
        """What a share is multiplied by so that the rows with, and without, the event add up to rate and 1 - rate."""
        if not self.by_class:
            return 1.0, 1.0
        observed = float(self.share[self.y].sum())
        return self.rate / observed, (1 - self.rate) / (1 - observed)

    def rates(self, at: Floats) -> tuple[Floats, Floats]:
        """True and false positives per patient at each threshold, by one sort."""
        order = np.argsort(self.p, kind="stable")
        share, y = self.share[order], self.y[order]
        first = np.searchsorted(self.p[order], np.maximum(at, LEAST), side="left")
        event, other = self._scale
        tp = np.append(np.cumsum(np.where(y, share, 0.0)[::-1])[::-1], 0.0)
        fp = np.append(np.cumsum(np.where(y, 0.0, share)[::-1])[::-1], 0.0)
        return tp[first] * event, fp[first] * other

    def influence(self, t: float, *, with_all: bool) -> Floats:
        """Influence of each row on the net benefit at t, or on its difference to treating all."""
        odds = t / (1 - t)
        treated = (self.p >= max(t, LEAST)).astype(np.float64) - (1.0 if with_all else 0.0)
        gain = np.where(self.y, treated, -odds * treated)
        if not self.by_class:
            mean = float(np.einsum("r,r->", self.share, gain))
            return self.share * (gain - mean)
        event, other = self._scale
        scaled = self.share * np.where(self.y, event, other)
        mean_event = float(np.einsum("r,r->", scaled[self.y], gain[self.y])) / self.rate
        mean_other = float(np.einsum("r,r->", scaled[~self.y], gain[~self.y])) / (1 - self.rate)
        return np.asarray(scaled * (gain - np.where(self.y, mean_event, mean_other)), dtype=np.float64)

    def se(self, influence: Floats) -> float:
        """Standard error by subject."""
        return self.subjects.se(influence)
