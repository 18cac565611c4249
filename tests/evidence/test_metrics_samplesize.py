"""How many rows: published examples, and an exact search checked by simulation-free binomials."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bedside.evidence.metrics.proportions import clopper_pearson, proportion, wilson
from bedside.evidence.metrics.ranking import auroc
from bedside.evidence.metrics.samplesize import (
    auroc_se,
    development_size,
    max_r2_cox_snell,
    n_for_auroc,
    n_for_proportion,
    n_to_decide,
    validation_size,
)


def test_development_size_of_the_published_example() -> None:
    # Riley et al. 2019 (Part II), Chagas disease: 24 parameters, prevalence .174, R²cs .288 -> 623, 662, 221; EPP 4.8.
    found = development_size(24, 0.174, 0.288)
    assert (found.shrinkage, found.optimism, found.overall_risk, found.n) == (623, 662, 221, 662)
    assert round(found.events_per_parameter, 1) == 4.8
    # Riley 2019: the largest R²cs is .48 at a prevalence of .1 and .75 at .5.
    assert round(max_r2_cox_snell(0.1), 2) == 0.48
    assert round(max_r2_cox_snell(0.5), 2) == 0.75


def test_validation_size_of_the_published_example() -> None:
    # Riley et al. 2021, prevalence .018, c .8, LP ~ N(-5, 2.5²), O/E width 1: 905 (their SE rounded), 4544, 4252.
    lp = stats.norm(-5, 2.5).ppf((np.arange(200_000) + 0.5) / 200_000)
    found = validation_size(0.018, 0.8, lp, oe_width=1.0)
    assert abs(found.oe - 905) <= 1
    assert found.slope == pytest.approx(4544, rel=0.005)
    assert found.c_statistic == 4252
    assert found.n == found.slope


def test_no_miss_needs_73_positives_for_a_sensitivity_of_95() -> None:
    # n / (n + z²) ≥ .95 from n = 73 on.
    assert n_for_proportion(0.95, 1.0) == 73
    assert wilson(73, 73).low >= 0.95 > wilson(72, 72).low


@pytest.mark.parametrize(("bound", "expected"), [(0.95, 0.98), (0.85, 0.92), (0.5, 0.3), (0.1, 0.02)])
def test_the_chance_to_decide_is_exact(bound: float, expected: float) -> None:
    n = n_for_proportion(bound, expected, chance=0.8)

    def chance(m: int) -> float:
        total = 0.0
        for events in range(m + 1):
            found = wilson(events, m)
            if (found.low >= bound) if expected > bound else (found.high <= bound):
                total += stats.binom.pmf(events, m, expected)
        return total

    assert chance(n) >= 0.8
    assert chance(n - 1) < 0.8
    assert all(chance(m) >= 0.8 for m in range(n, n + 40))
    assert n_for_proportion(bound, expected, design_effect=2.0) == 2 * n


@pytest.mark.parametrize(
    ("events", "n", "threshold"), [(180, 200, 0.87), (180, 200, 0.92), (70, 70, 0.95), (0, 20, 0.1)]
)
def test_n_to_decide_inverts_wilson(events: int, n: int, threshold: float) -> None:
    found = wilson(events, n)
    needed = n_to_decide(found.value, found.low, found.high, n, threshold, method="wilson")
    assert needed is not None and needed > n
    there, before = (wilson(found.value * m, m) for m in (needed, needed - 1))
    assert not there.low < threshold < there.high
    assert before.low < threshold < before.high


def test_n_to_decide_keeps_the_design_effect() -> None:
    hit = np.repeat(np.arange(100) % 10 < 8, 4)
    once = proportion(hit)
    clustered = proportion(hit, subject=np.repeat(np.arange(100), 4))
    alone = n_to_decide(once.value, once.low, once.high, 400, 0.77, method=once.method)
    together = n_to_decide(clustered.value, clustered.low, clustered.high, 400, 0.77, method=clustered.method)
    assert alone is not None and together is not None
    assert together == pytest.approx(4 * alone, rel=0.01)


def test_n_to_decide_for_an_auroc_is_what_copies_of_the_data_would_show() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 150)
    score = rng.normal(size=150) + y
    found = auroc(y, score)
    threshold = found.low + 0.02
    needed = n_to_decide(found.value, found.low, found.high, 150, threshold, method=found.method)
    assert needed is not None
    copies = needed / 150
    more = auroc(np.tile(y, 8), np.tile(score, 8))
    # The standard error goes with 1/sqrt(n); on the logit scale so do the limits.
    half = (np.log(found.value / (1 - found.value)) - np.log(more.low / (1 - more.low))) * np.sqrt(8 / copies)
    assert 1 / (1 + np.exp(-(np.log(found.value / (1 - found.value)) - half))) == pytest.approx(threshold, abs=1e-3)


def test_n_to_decide_when_there_is_nothing_to_say() -> None:
    assert n_to_decide(0.8, 0.7, 0.9, 100, 0.8) is None  # the value sits on the threshold
    assert n_to_decide(0.8, 0.7, 0.9, 100, 0.6) == 100  # already decided
    assert n_to_decide(0.8, 0.7, 0.9, 100, 0.8 + 1e-9) is None  # beyond a billion
    exact = clopper_pearson(8, 10)
    assert (n_to_decide(0.8, exact.low, exact.high, 10, 0.6, method="clopper_pearson") or 0) > 10
    assert n_to_decide(0.8, 0.7, 0.9, 100, 0.75, method="delta") == 400


def test_hanley_mcneil_width() -> None:
    # Hanley and McNeil 1982: with θ = .8 and 50 + 50 rows the standard error is about .044.
    assert auroc_se(0.8, 100, 0.5) == pytest.approx(0.0444, abs=5e-4)
    n = n_for_auroc(0.8, 0.85, 0.2)
    reach = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert reach * auroc_se(0.85, n, 0.2) <= 0.05 < reach * auroc_se(0.85, n - 1, 0.2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: n_for_proportion(0.9, 0.9),
        lambda: n_for_proportion(1.0, 0.9),
        lambda: n_for_proportion(0.9, 0.9 + 1e-7),
        lambda: n_for_auroc(0.8, 0.8, 0.1),
        lambda: development_size(10, 0.1, 0.6),
        lambda: development_size(0, 0.1, 0.1),
        lambda: validation_size(0.1, 0.8, [1.0, 1.0]),
    ],
)
def test_what_no_n_decides_is_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        call()
