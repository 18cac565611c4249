"""Calibration: statsmodels' GLM, scikit-learn's bins, and the patient as the unit."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve as bins_of

from bedside.evidence.metrics.bootstrap import bootstrap
from bedside.evidence.metrics.calibration import calibration_in_the_large, calibration_slope, oe_ratio
from bedside.evidence.metrics.calibration_curve import calibration_curve, spline_basis
from bedside.evidence.metrics.calibration_error import calibration_errors, ece


def rows(n: int, seed: int, slope: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks that are too extreme, outcomes that share an effect within a subject, subject codes."""
    rng = np.random.default_rng(seed)
    lp = rng.normal(-1, 1.2, n)
    subject = rng.integers(0, n // 4, n)
    effect = rng.normal(0, 0.5, n // 4)[subject]
    y = rng.random(n) < expit(0.3 + slope * lp + effect)
    return y.astype(int), expit(lp), subject


@pytest.mark.parametrize("n", [300, 20_000])  # small: straight Newton; large: started from slice means
@pytest.mark.parametrize("weighted", [False, True])
def test_in_the_large_and_slope_are_statsmodels_glm(n: int, weighted: bool) -> None:
    y, p, _ = rows(n, 1)
    w = np.random.default_rng(2).integers(1, 4, n) if weighted else None
    family = sm.families.Binomial()
    offset = sm.GLM(y, np.ones((n, 1)), family=family, offset=logit(p), freq_weights=w).fit(tol=1e-14)
    slope = sm.GLM(y, np.column_stack([np.ones(n), logit(p)]), family=family, freq_weights=w).fit(tol=1e-14)
    assert calibration_in_the_large(y, p, weights=w).value == pytest.approx(offset.params[0], abs=1e-9)
    assert calibration_slope(y, p, weights=w).value == pytest.approx(slope.params[1], abs=1e-9)


def test_sandwich_is_statsmodels_cluster_covariance() -> None:
    y, p, subject = rows(400, 3)
    count = len(np.unique(subject))
    design = np.column_stack([np.ones(400), logit(p)])
    model = sm.GLM(y, design, family=sm.families.Binomial())
    clustered = model.fit(tol=1e-14, cov_type="cluster", cov_kwds={"groups": subject, "use_correction": False})
    alone = model.fit(tol=1e-14, cov_type="HC0")
    found = calibration_slope(y, p, subject=subject)
    assert found.se == pytest.approx(clustered.bse[1] * np.sqrt(count / (count - 1)), rel=1e-8)
    assert found.method == "sandwich_clustered"
    assert calibration_slope(y, p).se == pytest.approx(alone.bse[1] * np.sqrt(400 / 399), rel=1e-8)


def test_recalibrating_a_perfect_forecast_finds_nothing_to_do() -> None:
    # Ten thousand rows whose observed rates equal the forecasts exactly.
    p = np.repeat([0.1, 0.3, 0.6, 0.8], 2500)
    y = np.concatenate([np.arange(2500) < rate * 2500 for rate in (0.1, 0.3, 0.6, 0.8)])
    assert calibration_in_the_large(y, p).value == pytest.approx(0, abs=1e-9)
    assert calibration_slope(y, p).value == pytest.approx(1, abs=1e-9)
    assert oe_ratio(y, p).value == pytest.approx(1, abs=1e-12)
    found = ece(y, p, bins=4, seed=0)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low == 0.0
    errors = calibration_errors(y, p, seed=0)
    assert errors["ici"].value == pytest.approx(0, abs=1e-9)
    assert errors["emax"].low == 0.0


def test_o_over_e() -> None:
    y, p, subject = rows(600, 4)
    found = oe_ratio(y, p, subject=subject)
    assert found.value == pytest.approx(y.sum() / p.sum(), rel=1e-13)

    def values(weights: np.ndarray) -> np.ndarray:
        return (weights @ y) / (weights @ p)

    _, draws = bootstrap(values, 600, subject=subject, replicates=3000, seed=1)
    assert found.se == pytest.approx(draws.std(), rel=0.08)


@pytest.mark.parametrize("metric", [calibration_in_the_large, calibration_slope, oe_ratio])
def test_doubling_the_rows_of_every_subject_changes_nothing(metric) -> None:  # type: ignore[no-untyped-def]
    y, p, _ = rows(300, 5)
    once = metric(y, p)
    twice = metric(np.repeat(y, 2), np.repeat(p, 2), subject=np.repeat(np.arange(300), 2))
    assert (twice.value, twice.se, twice.low) == pytest.approx((once.value, once.se, once.low), abs=1e-10)


def test_intervals_cover_when_outcomes_cluster() -> None:
    covered = {calibration_in_the_large: 0, calibration_slope: 0, oe_ratio: 0}
    # The marginal truth of this design, from two million rows.
    y, p, _ = rows(2_000_000, 99)
    truth = {metric: metric(y, p).value for metric in covered}
    for seed in range(600):
        y, p, subject = rows(600, 1000 + seed)
        for metric in covered:
            found = metric(y, p, subject=subject)
            covered[metric] += found.low <= truth[metric] <= found.high
    for count in covered.values():
        assert 530 <= count <= 598  # a coverage in 0.93..0.97 leaves this with probability < 1e-4


def test_spline_is_the_natural_cubic_spline() -> None:
    knots = (-2.0, -0.5, 0.3, 1.0, 2.5)
    x = np.linspace(-4, 5, 9001)
    basis = spline_basis(x, knots)
    assert basis.shape == (5, 9001)  # the dimension of natural splines on five knots
    assert np.linalg.matrix_rank(basis) == 5
    second = np.gradient(np.gradient(basis, x, axis=1), x, axis=1)
    outside = (x < knots[0] - 0.01) | (x > knots[-1] + 0.01)
    assert np.abs(second[:, outside][:, 2:-2]).max() < 1e-6  # straight beyond the end knots
    assert np.abs(np.diff(second[:, 2:-2], axis=1)).max() < 0.02  # its second derivative is continuous


def test_curve_and_its_errors_are_the_glm_on_the_spline() -> None:
    y, p, subject = rows(1200, 6)
    curve = calibration_curve(y, p, at=np.array([0.05, 0.2, 0.5, 0.9]), subject=subject)
    assert len(curve.knots) == 5
    design = spline_basis(logit(p), curve.knots).T
    fit = sm.GLM(y, design, family=sm.families.Binomial()).fit(
        tol=1e-14, cov_type="cluster", cov_kwds={"groups": subject, "use_correction": False}
    )
    at = spline_basis(logit(curve.p), curve.knots).T
    assert curve.observed == pytest.approx(fit.predict(at), abs=1e-8)
    count = len(np.unique(subject))
    se = np.sqrt(np.einsum("rt,ts,rs->r", at, fit.cov_params(), at) * count / (count - 1))
    assert curve.low == pytest.approx(expit(at @ fit.params - 1.959964 * se), abs=1e-6)
    assert curve.high == pytest.approx(expit(at @ fit.params + 1.959964 * se), abs=1e-6)
    gap = np.abs(fit.predict(design) - p)
    errors = calibration_errors(y, p, seed=0)
    expected = {"ici": gap.mean(), "e50": np.median(gap), "e90": np.quantile(gap, 0.9), "emax": gap.max()}
    for name, value in expected.items():
        assert errors[name].value == pytest.approx(value, abs=1e-7)
        assert errors[name].low <= errors[name].value <= errors[name].high


def test_equal_weights_are_no_weights() -> None:
    y, p, _ = rows(400, 7)
    plain, weighted = calibration_errors(y, p, seed=0), calibration_errors(y, p, weights=np.full(400, 2.5), seed=0)
    for name in ("ici", "emax"):
        assert weighted[name].value == pytest.approx(plain[name].value, abs=1e-9)
    assert ece(y, p, weights=np.full(400, 3.0), seed=0).value == pytest.approx(ece(y, p, seed=0).value, abs=1e-12)


def test_fewer_forecast_values_take_fewer_knots() -> None:
    rng = np.random.default_rng(8)
    for levels, knots, terms in ((2, 0, 2), (1, 0, 1), (3, 3, 3)):
        p = np.array([0.2, 0.5, 0.8])[rng.integers(0, levels, 600)]
        y = rng.random(600) < p
        curve = calibration_curve(y, p)
        assert len(curve.knots) == knots
        # With as many terms as values the curve is the observed rate at each.
        for k, value in enumerate(np.unique(p)):
            at = calibration_curve(y, p, at=[value]).observed[0]
            assert at == pytest.approx(y[p == value].mean(), abs=1e-8), (terms, k)


@pytest.mark.parametrize("digits", [2, 12])
def test_ece_is_that_of_scikit_learns_bins(digits: int) -> None:
    y, p, _ = rows(777, 9)
    p = np.round(p, digits)
    observed, expected = bins_of(y, p, n_bins=10, strategy="quantile")
    edges = np.percentile(p, np.linspace(0, 100, 11))[1:-1]
    mass = np.bincount(np.searchsorted(edges, p)) / 777
    assert ece(y, p, seed=0).value == pytest.approx(np.sum(mass[mass > 0] * np.abs(observed - expected)), abs=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
def test_ece_and_ici_vary_as_the_bootstrap_says(clustered: bool) -> None:
    y, p, subject = rows(2000, 10, slope=0.4)  # far from calibrated: the errors are nearly linear there
    subject = subject if clustered else None
    ids = np.arange(2000) if subject is None else subject
    rng, values = np.random.default_rng(0), []
    members = [np.flatnonzero(ids == s) for s in np.unique(ids)]
    for _ in range(200):
        drawn = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        found = calibration_errors(y[drawn], p[drawn], seed=0, draws=2, knots=5)
        values.append((ece(y[drawn], p[drawn], seed=0, draws=2).value, found["ici"].value))
    spread = np.std(values, axis=0)
    # 200 samples give a standard deviation to 5 %; bins and knots that move with the sample add a little.
    assert ece(y, p, subject=subject, seed=1).se == pytest.approx(spread[0], rel=0.25)
    assert calibration_errors(y, p, subject=subject, seed=1)["ici"].se == pytest.approx(spread[1], rel=0.25)


def test_a_calibrated_forecast_is_allowed_to_have_no_error() -> None:
    zero = high = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p = rng.beta(2, 5, 500)
        y = rng.random(500) < p
        found = calibration_errors(y, p, seed=seed, draws=200)["ici"]
        zero += found.low == 0.0
        high += found.high >= found.value
    assert high == 200
    assert zero >= 172  # the Wald test's level in .92..: binomial(200, .92) is below with probability < 1e-4


def test_draws_are_fixed_by_the_seed() -> None:
    y, p, _ = rows(300, 11)
    assert ece(y, p, seed=3) == ece(y, p, seed=3)
    assert ece(y, p, seed=3) != ece(y, p, seed=4)
    shuffled = np.random.default_rng(0).permutation(300)
    again = ece(y[shuffled], p[shuffled], seed=3)
    assert again.high == pytest.approx(ece(y, p, seed=3).high, abs=1e-12)


def test_certain_forecasts_have_a_finite_logit() -> None:
    y, p, _ = rows(300, 12)
    p[:5], p[5:9] = 0.0, 1.0
    assert np.isfinite(calibration_slope(y, p).value)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: calibration_in_the_large([0, 0, 0], [0.1, 0.2, 0.3]), "one class only"),
        (lambda: calibration_slope([0, 1, 0], [0.2, 0.2, 0.2]), "constant forecast"),
        (lambda: calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.9]), "separates"),
        (lambda: calibration_slope([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.9]), "separates"),
        (lambda: calibration_curve([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9]), "separates"),
        (lambda: oe_ratio([0, 0], [0.2, 0.3]), "no event observed"),
        (lambda: calibration_curve([0, 1], [0.2, 0.3], knots=9), "choose 3, 4 or 5"),
        (lambda: calibration_slope([0, 1, 0, 1], [0.1, 0.3, 0.4, 0.2], subject=[1, 1, 1, 1]), "one subject only"),
        (lambda: ece([0, 1], [0.1, 2.0], seed=0), r"\[0, 1\]"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
