"""Average precision and the ranked bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bedside.evidence.metrics.bootstrap import bootstrap
from bedside.evidence.metrics.precision_recall import (
    average_precision,
    average_precision_difference,
    average_precision_influence,
)
from bedside.evidence.metrics.ranked_bootstrap import ranked_replicates
from bedside.evidence.metrics.ranking import auroc, ranking_of


def rows(n: int, seed: int, digits: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.2
    return y.astype(int), np.round(rng.normal(size=n) + y, digits)


@pytest.mark.parametrize("digits", [1, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_scikit_learns(digits: int, weighted: bool) -> None:
    for seed in range(5):
        y, score = rows(400, seed, digits)
        w = np.random.default_rng(seed).random(400) if weighted else None
        found = average_precision(y, score, weights=w, seed=0, replicates=20)
        assert found.value == pytest.approx(average_precision_score(y, score, sample_weight=w), abs=1e-12)


@pytest.mark.parametrize("digits", [1, 12])
def test_influence_is_the_derivative_by_the_weight(digits: int) -> None:
    y, score = rows(60, 2, digits)
    ranking = ranking_of(y, score, None, None)
    _, influence = average_precision_influence(ranking)
    for k, row in enumerate(ranking.order):
        w = np.ones(60)
        w[row] += 1e-6
        up = average_precision_score(y, score, sample_weight=w)
        w[row] -= 2e-6
        down = average_precision_score(y, score, sample_weight=w)
        assert influence[k] == pytest.approx((up - down) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("clustered", [False, True])
def test_blocked_bootstrap_has_the_spread_of_the_plain_one(clustered: bool) -> None:
    y, score = rows(1500, 3)
    subject = np.random.default_rng(3).integers(0, 300, 1500) if clustered else None

    def one(weights: np.ndarray) -> np.ndarray:
        return np.array([average_precision_score(y, score, sample_weight=w) for w in weights])

    _, plain = bootstrap(one, 1500, subject=subject, replicates=600, seed=5)
    blocked = ranked_replicates([ranking_of(y, score, subject, None)], replicates=4000, seed=6)[0]
    # Standard deviations of 600 and 4000 replicates: relative errors .029 and .011, so .13 is over four of them.
    assert blocked.average_precision.std() == pytest.approx(plain.std(), rel=0.13)
    assert blocked.auroc.std() == pytest.approx(auroc(y, score, subject=subject).se, rel=0.07)
    assert blocked.blocked_average_precision == pytest.approx(average_precision_score(y, score), abs=2e-3)


def test_small_sets_are_not_blocked_at_all() -> None:
    y, score = rows(60, 4, 1)
    drawn = ranked_replicates([ranking_of(y, score, None, None)], replicates=2, seed=0)[0]
    assert drawn.blocked_average_precision == pytest.approx(average_precision_score(y, score), abs=1e-13)


def test_seed_fixes_the_interval_and_other_sets_do_not_change_it() -> None:
    y, score = rows(500, 5)
    a = average_precision(y, score, seed=9)
    assert a == average_precision(y, score, seed=9)
    assert a != average_precision(y, score, seed=10)
    ranking = ranking_of(y, score, None, None)
    alone = ranked_replicates([ranking], replicates=50, seed=9)[0]
    among = ranked_replicates([ranking.take(np.arange(250)), ranking], replicates=50, seed=9)[1]
    assert np.array_equal(alone.average_precision, among.average_precision)


def test_order_of_rows_changes_nothing_without_subjects() -> None:
    y, score = rows(500, 6)
    shuffled = np.random.default_rng(0).permutation(500)
    a, b = average_precision(y, score, seed=1), average_precision(y[shuffled], score[shuffled], seed=1)
    assert (a.low, a.high, a.value) == (b.low, b.high, b.value)


def test_interval_covers() -> None:
    # Scores N(1, 1) with the event and N(0, 1) without, prevalence .2: the average precision of 10^6 rows is .499.
    big = rows(10**6, 7)
    truth = average_precision_score(*big)
    covered = 0
    for seed in range(300):
        y, score = rows(500, 100 + seed)
        found = average_precision(y, score, seed=seed, replicates=300)
        covered += found.low <= truth <= found.high
    assert covered >= 257  # binomial(300, 0.92) falls below with probability < 1e-4


def test_perfect_ranking_keeps_a_width() -> None:
    y = np.repeat([0, 1], [50, 12])
    found = average_precision(y, y + np.arange(62) / 1000, seed=0)
    assert (found.value, found.high, found.method) == (1.0, 1.0, "wilson_events")
    assert found.low == pytest.approx(12 / (12 + 1.959964**2), abs=1e-6)


def test_paired_difference() -> None:
    y, a = rows(800, 8)
    b = a + np.random.default_rng(8).normal(size=800)
    found = average_precision_difference(y, a, b)
    assert found.value == pytest.approx(average_precision_score(y, a) - average_precision_score(y, b), abs=1e-12)
    assert average_precision_difference(y, b, a).value == -found.value

    def both(weights: np.ndarray) -> np.ndarray:
        pairs = [[average_precision_score(y, s, sample_weight=w) for s in (a, b)] for w in weights]
        return np.subtract(*np.array(pairs).T)

    _, draws = bootstrap(both, 800, replicates=500, seed=1)
    assert found.se == pytest.approx(draws.std(), rel=0.15)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class only"):
        average_precision([0, 0, 0], [1, 2, 3], seed=0)
    # One event among many: more than 1 in 20 samples lack it.
    with pytest.raises(ValueError, match="too few events"):
        average_precision([0] * 30 + [1] + [0] * 30, np.arange(61), seed=0)
