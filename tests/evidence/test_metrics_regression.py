"""A predicted number: scikit-learn's, scipy's and statsmodels' values, intervals by subject."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn import metrics as sk

from bedside.evidence.metrics import regression as rg


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction, subjects; errors share an effect within a subject."""
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, n // 4, n)
    guess = 10 + 2 * rng.normal(size=n) + 1.5 * rng.normal(size=n // 4)[subject]
    y = 1 + 0.9 * guess + rng.normal(size=n) + rng.normal(size=n // 4)[subject]
    return y, guess, subject


def test_values_are_scikit_learns_and_scipys() -> None:
    y, guess, _ = rows(300, 0)
    w = np.random.default_rng(0).random(300)
    for weights in (None, w):
        assert rg.mae(y, guess, weights=weights).value == pytest.approx(
            sk.mean_absolute_error(y, guess, sample_weight=weights), abs=1e-12
        )
        assert rg.rmse(y, guess, weights=weights).value == pytest.approx(
            sk.root_mean_squared_error(y, guess, sample_weight=weights), abs=1e-12
        )
        assert rg.r2(y, guess, weights=weights).value == pytest.approx(
            sk.r2_score(y, guess, sample_weight=weights), abs=1e-12
        )
    assert rg.median_absolute_error(y, guess).value == pytest.approx(sk.median_absolute_error(y, guess), abs=1e-12)
    assert rg.pearson(y, guess).value == pytest.approx(stats.pearsonr(y, guess)[0], abs=1e-12)
    for digits in (0, 12):
        rounded = np.round(y, digits)
        assert rg.spearman(rounded, guess).value == pytest.approx(stats.spearmanr(rounded, guess)[0], abs=1e-12)


def test_calibration_line_is_statsmodels_ols_with_cluster_covariance() -> None:
    y, guess, subject = rows(300, 1)
    fit = sm.OLS(y, sm.add_constant(guess)).fit(
        cov_type="cluster", cov_kwds={"groups": subject, "use_correction": False}
    )
    count = len(np.unique(subject))
    found = rg.calibration_line(y, guess, subject=subject)
    for name, k in (("intercept", 0), ("slope", 1)):
        assert found[name].value == pytest.approx(fit.params[k], abs=1e-9)
        assert found[name].se == pytest.approx(fit.bse[k] * np.sqrt(count / (count - 1)), rel=1e-8)
    assert found["bias"].value == pytest.approx((guess - y).mean())


METRICS = {
    "mae": rg.mae,
    "rmse": rg.rmse,
    "r2": rg.r2,
    "median": rg.median_absolute_error,
    "pearson": rg.pearson,
    "spearman": rg.spearman,
    "lower": lambda *rows, **given: rg.bland_altman(*rows, **given)["lower"],
    "upper": lambda *rows, **given: rg.bland_altman(*rows, **given)["upper"],
}


# Whole numbers tie; their median does not vary smoothly.
@pytest.mark.parametrize(
    ("name", "digits"), [(name, 12) for name in METRICS] + [(n, 0) for n in METRICS if n != "median"]
)
def test_standard_errors_are_those_of_drawing_subjects(name: str, digits: int) -> None:
    y, guess, subject = rows(800, 2)
    y, guess = np.round(y, digits), np.round(guess, digits)
    metric = METRICS[name]
    rng = np.random.default_rng(3)
    members = [np.flatnonzero(subject == s) for s in np.unique(subject)]
    draws = []
    for _ in range(300):
        drawn = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        draws.append(metric(y[drawn], guess[drawn]).value)
    # 300 draws give the standard deviation to 4 %; a quantile's is read off an interval.
    assert metric(y, guess, subject=subject).se == pytest.approx(np.std(draws), rel=0.3 if name == "median" else 0.18)


def test_doubling_the_rows_of_every_subject_changes_nothing() -> None:
    y, guess, subject = rows(200, 4)
    for name in ("mae", "rmse", "r2", "pearson", "spearman"):
        once = METRICS[name](y, guess, subject=subject)
        twice = METRICS[name](np.repeat(y, 2), np.repeat(guess, 2), subject=np.repeat(subject, 2))
        assert (twice.value, twice.se) == pytest.approx((once.value, once.se), abs=1e-12), name


def test_limits_of_agreement_on_normal_differences() -> None:
    # Bland and Altman 1986: the limits are bias ∓ 1.96 sd with a standard error near sqrt(3 sd²/n).
    rng = np.random.default_rng(5)
    y = rng.normal(size=5000)
    found = rg.bland_altman(y, y + rng.normal(0.3, 2, 5000))
    gap = found["upper"].value - found["lower"].value
    assert gap == pytest.approx(2 * 1.959964 * 2, rel=0.04)
    assert found["upper"].se == pytest.approx(np.sqrt((1 + 1.959964**2 / 2) * 4 / 5000), rel=0.05)
    assert found["bias"].se == pytest.approx(2 / np.sqrt(5000), rel=0.05)


def test_median_interval_covers() -> None:
    covered = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        found = rg.median_absolute_error(rng.normal(size=101), np.zeros(101))
        covered += found.low <= stats.norm.ppf(0.75) <= found.high
    assert covered >= 530  # a coverage of at least .93 falls below with probability < 1e-4


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: rg.mae([1.0], [1.0]), "fewer than two rows"),
        (lambda: rg.mae([1.0, 2.0], [2.0, 3.0]), "all rows lose the same"),
        (lambda: rg.r2([1.0, 1.0], [1.0, 2.0]), "constant truth"),
        (lambda: rg.r2([1.0, 2.0], [1.0, 2.0]), "every prediction is exact"),
        (lambda: rg.pearson([1.0, 2.0], [1.0, 1.0]), "constant prediction"),
        (lambda: rg.pearson([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), "agree exactly"),
        (lambda: rg.spearman([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]), "constant prediction"),
        (lambda: rg.calibration_line([1.0, 2.0], [1.0, 1.0]), "constant prediction"),
        (lambda: rg.bland_altman([1.0, 2.0], [2.0, 3.0]), "all differences are the same"),
        (lambda: rg.mae([1.0, np.inf], [1.0, 2.0]), "infinite"),
        (lambda: rg.mae([1.0, 2.0, 3.0], [1.0, 2.0]), "shape"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
