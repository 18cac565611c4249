"""Drift: distances against their oracles, intervals that hold, and what cannot be known refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bedside.evidence.metrics.drift import cohens_w, ks, ks_to_quantiles, psi, share_difference

LEVELS = np.linspace(0, 1, 21)


def test_the_distance_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    new, old = np.round(rng.normal(0.3, 1, 300), 1), np.round(rng.normal(size=500), 1)  # with ties
    assert ks(new, old, n=300, n_reference=500).value == pytest.approx(stats.ks_2samp(new, old).statistic, abs=1e-12)


def test_the_bounds_of_massart() -> None:
    """Half-width sqrt(log(4/0.05)/2) (1/sqrt n + 1/sqrt m): 1.4802 (0.1 + 0.05) at n = 100, m = 400."""
    found = ks(np.zeros(100), np.ones(400), n=100, n_reference=400)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 1.480207 * 0.15, abs=1e-6)


def test_quantiles_bound_the_distance_to_the_sample_they_are_of() -> None:
    """What is known of the reference brackets the distance to it, with ties and without."""
    rng = np.random.default_rng(2)
    for digits in (0, 1, 8):
        for shift in (0.0, 0.4, 1.5):
            old = np.round(rng.normal(size=2000), digits)
            new = np.round(rng.normal(shift, 1, 1500), digits)
            true = stats.ks_2samp(new, old).statistic
            found = ks_to_quantiles(new, LEVELS, np.quantile(old, LEVELS), n=10**9, n_reference=10**9)
            assert found.value <= true + 2 / 2000 and true <= found.high + 1e-3, (digits, shift)
            assert found.high - found.value < 0.42 if digits == 0 else found.high - found.value < 0.13


def test_a_whole_number_with_few_values_is_no_drift_by_itself() -> None:
    """A third of the patients at each of 0, 1, 2: quantiles alone cannot tell the masses, and no shift is made up."""
    old, new = np.repeat([0.0, 1.0, 2.0], 1000), np.repeat([0.0, 1.0, 2.0], 700)
    assert ks_to_quantiles(new, LEVELS, np.quantile(old, LEVELS), n=2100, n_reference=3000).value < 1e-9


def test_chi_square_is_that_of_scipy() -> None:
    """w² (1/n + 1/m)^-1 + df is the statistic of the test: the bias is its degrees of freedom."""
    counts, reference = np.array([30, 50, 20]), np.array([100, 60, 40])
    test = stats.chi2_contingency(np.stack([counts, reference]), correction=False)
    found = cohens_w(counts, reference / 200, n=100, n_reference=200)
    assert found.value**2 / (1 / 100 + 1 / 200) + 2 == pytest.approx(test.statistic)
    # The interval leaves 0 out exactly where the test rejects at half the tail.
    assert (found.low > 0) == (test.pvalue < 0.025)
    assert stats.ncx2.cdf(test.statistic, 2, found.low**2 / 0.015) == pytest.approx(0.975)
    assert stats.ncx2.cdf(test.statistic, 2, found.high**2 / 0.015) == pytest.approx(0.025)


def test_the_index_by_hand_at_an_n_where_its_bias_is_nothing() -> None:
    """Shares (.5, .5) against (.6, .4): (−.1) ln(.5/.6) + .1 ln(.5/.4) = .0405465 (Siddiqi's formula)."""
    n = 10**7
    found = psi([n // 2, n // 2], [0.6, 0.4], n=n, n_reference=n)
    assert found.value == pytest.approx(0.0405465, abs=1e-5) and found.high - found.low < 1e-3


@pytest.mark.parametrize("shift", [0.0, 0.08])
def test_the_intervals_hold(shift: float) -> None:
    """Of 95 % intervals over 400 draws at most 40 miss (Binomial(400, .05) exceeds 40 once in 10^4); of the distance,
    whose bounds are for every n, none is to be expected."""
    rng = np.random.default_rng(7)
    p, r = np.array([0.3 + shift, 0.5, 0.2 - shift]), np.array([0.3, 0.5, 0.2])
    index = float(((p - r) * np.log(p / r)).sum())
    missed_index = missed_distance = 0
    for _ in range(400):
        counts, reference = rng.multinomial(400, p), rng.multinomial(900, r)
        found = psi(counts, reference / 900, n=400, n_reference=900)
        missed_index += not found.low <= index <= found.high
        near = ks(np.repeat([0, 1, 2], counts), np.repeat([0, 1, 2], reference), n=400, n_reference=900)
        missed_distance += not near.low <= shift <= near.high
    assert missed_index <= 40 and missed_distance <= 3


def test_a_category_that_was_never_seen_is_no_infinity() -> None:
    found = psi([50, 50], [1.0, 0.0], n=100, n_reference=1000)
    assert 0.25 < found.low < found.value < found.high < 10


def test_missing_is_a_difference_of_two_shares() -> None:
    """Newcombe 1998, Table II, method 10, case (a): 56/70 − 48/80 = .2000 (.0524 to .3339)."""
    found = share_difference(56, 70, 48 / 80, n=70, n_reference=80)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_fewer_patients_than_rows_widen_it() -> None:
    rng = np.random.default_rng(3)
    values, other = rng.normal(size=1000), rng.normal(size=1000)
    wide, narrow = ks(values, other, n=50, n_reference=1000), ks(values, other, n=1000, n_reference=1000)
    assert wide.high - wide.value > narrow.high - narrow.value and wide.n_subjects == 50


def test_what_cannot_be_known_is_refused() -> None:
    for attempt in (
        lambda: ks([], [1.0], n=1, n_reference=1),
        lambda: ks([np.nan], [1.0], n=1, n_reference=1),
        lambda: ks([1.0], [1.0], n=0, n_reference=1),
        lambda: ks([1.0], [1.0], n=1, n_reference=1, level=1.0),
        lambda: psi([5], [1.0], n=5, n_reference=5),
        lambda: psi([0, 0], [0.5, 0.5], n=5, n_reference=5),
        lambda: cohens_w([5, 0], [1.0, 0.0], n=5, n_reference=5),
        lambda: share_difference(0, 0, 0.1, n=1, n_reference=1),
    ):
        with pytest.raises(ValueError):
            attempt()
