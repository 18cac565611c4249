"""The subject bootstrap: reproducible however it is blocked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bedside.evidence.metrics.bootstrap import bootstrap, bootstrap_interval, percentile_limits, subject_weights


@pytest.mark.parametrize("scheme", ["poisson", "multinomial"])
def test_blocking_changes_nothing(scheme: str) -> None:
    whole = np.concatenate(list(subject_weights(37, 50, seed=3, scheme=scheme, block=50)))  # type: ignore[arg-type]
    for block in (1, 7, 49):
        parts = np.concatenate(list(subject_weights(37, 50, seed=3, scheme=scheme, block=block)))  # type: ignore[arg-type]
        assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, np.concatenate(list(subject_weights(37, 50, seed=4, scheme=scheme))))  # type: ignore[arg-type]


def test_poisson_weights_are_poisson() -> None:
    drawn = np.concatenate(list(subject_weights(1000, 400, seed=0))).ravel()
    seen = np.bincount(drawn.astype(int), minlength=7)
    expected = stats.poisson(1).pmf(np.arange(6)) * drawn.size
    statistic = np.sum((seen[:6] - expected) ** 2 / expected)
    assert statistic < stats.chi2(6).ppf(1 - 1e-6)


def test_multinomial_weights_add_up_to_the_subjects() -> None:
    drawn = np.concatenate(list(subject_weights(25, 100, seed=0, scheme="multinomial")))
    assert np.all(drawn.sum(axis=1) == 25)


def test_all_rows_of_a_subject_share_its_weight() -> None:
    subject = np.array([0, 1, 1, 2, 0])
    seen = []

    def keep(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights.sum(axis=1)

    point, values = bootstrap(keep, 5, subject=subject, replicates=30, seed=1)
    weights = np.concatenate(seen[1:])
    assert point.tolist() == [5.0]
    assert values.shape == (30, 1)
    assert np.array_equal(weights[:, 1], weights[:, 2]) and np.array_equal(weights[:, 0], weights[:, 4])


def test_interval_of_a_mean_is_that_of_theory() -> None:
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(200), 5)
    x = np.repeat(rng.normal(size=200), 5) + rng.normal(size=1000)

    def mean(weights: np.ndarray) -> np.ndarray:
        return weights @ x / weights.sum(axis=1)

    found = bootstrap_interval(mean, 1000, subject=subject, replicates=4000, seed=3)
    by_subject = x.reshape(200, 5).mean(axis=1)
    assert found.value == pytest.approx(x.mean())
    assert found.se == pytest.approx(by_subject.std(ddof=1) / np.sqrt(200), rel=0.06)
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.se, rel=0.08)
    assert (found.method, found.n_subjects) == ("bootstrap_subject", 200)


def test_what_is_undefined_is_refused() -> None:
    with pytest.raises(ValueError, match="one subject only"):
        bootstrap(lambda w: w.sum(axis=1), 3, subject=[0, 0, 0], seed=0)
    with pytest.raises(ValueError, match="undefined in 3 of 4"):
        percentile_limits(np.array([1.0, np.nan, np.nan, np.nan]), 0.95)
    with pytest.raises(ValueError, match="undefined on these rows"):
        bootstrap_interval(lambda w: np.full(len(w), np.nan), 5, seed=0)
    with pytest.raises(ValueError, match="replicates"):
        list(subject_weights(5, 1, seed=0))
