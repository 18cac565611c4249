"""Calibrators: what they recover, what they never do, and that they equal the libraries and formulas they stand for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from bedside.cohort.digest import canonical_json
from bedside.errors import DataError, PlanError
from bedside.evidence.metrics.calibration import logit
from bedside.models.calibrate import Calibration, fit_calibration
from bedside.models.maps import Beta, Intercept, Isotonic, Sigmoid, expit, targets
from bedside.models.task import Classify

BINARY = Classify("y", ("no", "yes"), "yes")
THREE = Classify("y", ("a", "b", "c"))
GRID = np.concatenate([[0.0, 1e-15], np.linspace(0, 1, 501), [1 - 1e-15, 1.0]])


def sample(seed: int, n: int, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities p and outcomes drawn from expit(slope · logit p + intercept)."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(0, 1.5, n))
    return p, (rng.random(n) < expit(slope * logit(p) + intercept)).astype(np.int64)


def two(p: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - p, p])


def test_sigmoid_recovers_the_distortion() -> None:
    found = Sigmoid.fit(*sample(1, 200_000, 0.6, -0.4))
    assert found.slope == pytest.approx(0.6, abs=0.02)  # the standard error is about 0.005
    assert found.intercept == pytest.approx(-0.4, abs=0.03)


@pytest.mark.parametrize(("kind", "near"), [(Sigmoid, 0.01), (Beta, 0.01), (Isotonic, 0.06)])
def test_calibrated_probabilities_stay(kind: type, near: float) -> None:
    found = kind.fit(*sample(2, 200_000))
    inner = GRID[(GRID > 0.05) & (GRID < 0.95)]
    assert np.abs(found(inner) - inner).max() < near


@pytest.mark.parametrize("kind", [Intercept, Sigmoid, Beta, Isotonic])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.3, 1), (3, -2), (-1, 0)])
def test_every_map_is_monotone_and_a_probability(kind: type, slope: float, intercept: float) -> None:
    found = kind.fit(*sample(3, 400, slope, intercept))(GRID)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.diff(found).min() >= 0


def test_sigmoid_is_scikit_learns_platt_scaling_of_the_logit() -> None:
    from sklearn.calibration import _SigmoidCalibration

    p, y = sample(4, 500, 0.5, 0.3)
    theirs = _SigmoidCalibration().fit(logit(p), y).predict(logit(p))
    assert np.abs(Sigmoid.fit(p, y)(p) - theirs).max() < 1e-6  # their optimiser's tolerance


def test_isotonic_is_scikit_learns() -> None:
    from sklearn.isotonic import IsotonicRegression

    p, y = sample(5, 500, 2.0, 0.5)
    p = p.round(2)  # ties
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    assert np.abs(Isotonic.fit(p, y)(GRID) - theirs.predict(GRID)).max() < 1e-12


def test_beta_is_kulls_formula_at_the_maximum_of_its_likelihood() -> None:
    p, y = sample(6, 400, 1.7, -0.6)
    found = Beta.fit(p, y)
    # Kull et al. 2017, equation 3: c(p) = 1 / (1 + 1 / (e^c p^a / (1 − p)^b)), here maximised by another optimiser.
    by_hand = 1 / (1 + 1 / (np.exp(found.c) * p**found.a / (1 - p) ** found.b))
    assert np.abs(found(p) - by_hand).max() < 1e-12

    def loss(v: np.ndarray) -> float:
        z = v[0] * np.log(p) - v[1] * np.log1p(-p) + v[2]
        return float(np.sum(np.logaddexp(0, z) - targets(y, np.ones(len(y))) * z))

    best = minimize(loss, [1, 1, 0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
    assert loss(np.array([found.a, found.b, found.c])) <= best.fun + 1e-7
    assert np.array([found.a, found.b, found.c]) == pytest.approx(best.x, abs=1e-3)


def test_beta_with_a_negative_coefficient_drops_it() -> None:
    rng = np.random.default_rng(7)
    p = rng.random(2000)
    y = (rng.random(2000) < expit(-0.9 * np.log(p) - 2.5 * np.log1p(-p) - 2)).astype(np.int64)
    found = Beta.fit(p, y)
    assert found.a == 0
    assert found.b > 0


def test_separated_scores_have_finite_coefficients() -> None:
    p = np.array([0.1] * 20 + [0.9] * 20)
    y = np.repeat([0, 1], 20)
    for kind in (Sigmoid, Beta):
        found = kind.fit(p, y)
        assert all(np.isfinite(value) for value in found.to_json().values())
        assert found(np.array([0.1]))[0] == pytest.approx(1 / 22, abs=1e-6)  # Platt's target of 20 others


def test_the_zeros_of_a_forest_do_not_flatten_the_map() -> None:
    # well separated rows, calibrated as they are but for votes of exactly 0: the map must stay near the identity
    p, y = sample(7, 400, 1.0)
    zeros = np.concatenate([np.zeros(400), p])
    for kind in (Sigmoid, Beta):
        found = kind.fit(zeros, np.concatenate([np.zeros(400, dtype=np.int64), y]))
        assert found(np.array([0.9]))[0] == pytest.approx(0.9, abs=0.05)
        assert found(np.array([0.0]))[0] < 0.01


def test_scores_that_do_not_vary_predict_the_rate() -> None:
    y = np.array([1] * 15 + [0] * 45)
    for kind in (Sigmoid, Beta, Isotonic):
        assert kind.fit(np.full(60, 0.5), y)(np.array([0.5]))[0] == pytest.approx(0.25, abs=0.02)


def test_a_score_that_ranks_the_wrong_way_is_flattened_and_said() -> None:
    p, y = sample(8, 500, -2.0)
    found, findings = fit_calibration("sigmoid", two(p), y, BINARY)
    assert np.ptp(found.apply(two(GRID))[:, 1]) == 0
    assert [item.id for item in findings] == ["calibration_flat"]


@pytest.mark.parametrize("method", ["intercept", "sigmoid", "isotonic", "beta", "temperature", "none"])
@pytest.mark.parametrize("task", [BINARY, THREE])
def test_json_and_back_is_exact_and_rows_sum_to_one(method: str, task: Classify) -> None:
    rng = np.random.default_rng(9)
    k = len(task.classes)
    raw = softmax(rng.normal(size=(300, k)), axis=1)
    y = np.array([rng.choice(k, p=row) for row in raw])
    found, _ = fit_calibration(method, raw, y, task)
    again = Calibration.from_json(json.loads(canonical_json(found.to_json())))
    assert again == found
    assert (again.apply(raw) == found.apply(raw)).all()
    assert np.abs(found.apply(raw).sum(axis=1) - 1).max() < 1e-12


def test_the_order_of_rows_does_not_matter() -> None:
    p, y = sample(10, 300, 0.7)
    order = np.random.default_rng(0).permutation(300)
    for method in ("intercept", "sigmoid", "isotonic", "beta", "temperature"):
        one, _ = fit_calibration(method, two(p), y, BINARY)
        other, _ = fit_calibration(method, two(p)[order], y[order], BINARY)
        assert one == other


def test_temperature_recovers_an_overconfident_model() -> None:
    rng = np.random.default_rng(11)
    z = rng.normal(size=(20_000, 3))
    y = np.array([rng.choice(3, p=row) for row in softmax(z, axis=1)])
    found, _ = fit_calibration("temperature", softmax(2.5 * z, axis=1), y, THREE)
    assert found.temperature == pytest.approx(2.5, abs=0.15)


def test_too_few_events_are_refused_with_their_number_unless_auto() -> None:
    p, y = sample(12, 400)
    rows = np.concatenate([np.flatnonzero(y == 1)[:9], np.flatnonzero(y == 0)[:100]])
    with pytest.raises(DataError, match="has 9 of 'yes' among 109 rows"):
        fit_calibration("sigmoid", two(p[rows]), y[rows], BINARY)
    found, findings = fit_calibration("auto", two(p[rows]), y[rows], BINARY)
    assert found.method == "none"
    assert [(item.id, item.values["n_events"]) for item in findings] == [("calibration_skipped", 9)]
    assert fit_calibration("auto", two(p), y, BINARY)[0].method == "sigmoid"


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(PlanError, match="spline"):
        fit_calibration("spline", two(np.array([0.5])), np.array([1]), BINARY)


@pytest.mark.parametrize("kind", [Intercept, Sigmoid, Beta, Isotonic])
def test_a_row_of_weight_2_is_two_rows(kind: type) -> None:
    p, y = sample(11, 300, 0.5, 0.4)
    w = np.random.default_rng(12).integers(1, 4, 300)
    weighted, repeated = kind.fit(p, y, w.astype(np.float64)), kind.fit(np.repeat(p, w), np.repeat(y, w))
    assert np.abs(weighted(GRID) - repeated(GRID)).max() < 1e-9
    assert np.abs(weighted(GRID) - kind.fit(p, y)(GRID)).max() > 1e-3  # the weights do say something


@pytest.mark.parametrize("method", ["sigmoid", "beta", "isotonic", "temperature"])
def test_only_the_ratios_of_weights_count_and_a_row_of_weight_0_is_not_there(method: str) -> None:
    p, y = sample(13, 400, 0.5, 0.4)
    w = np.random.default_rng(14).choice([0.0, 1.0, 2.5], 400)
    found, _ = fit_calibration(method, two(p), y, BINARY, w)
    scaled, _ = fit_calibration(method, two(p), y, BINARY, 1000 * w)
    without, _ = fit_calibration(method, two(p[w > 0]), y[w > 0], BINARY, w[w > 0])
    assert np.abs(found.apply(two(GRID)) - scaled.apply(two(GRID))).max() < 1e-9
    assert found == without
    assert found.n_rows == (w > 0).sum()


def test_a_temperature_of_weighted_rows_is_that_of_repeated_ones() -> None:
    p, y = sample(15, 300, 0.5)
    w = np.random.default_rng(16).integers(1, 4, 300)
    weighted, _ = fit_calibration("temperature", two(p), y, BINARY, w.astype(np.float64))
    repeated, _ = fit_calibration("temperature", two(np.repeat(p, w, axis=0)), np.repeat(y, w), BINARY)
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-6)


def test_the_intercept_is_the_offset_fit_of_a_glm_and_mends_the_mean() -> None:
    import statsmodels.api as sm

    p, y = sample(21, 800, 1.0, 0.7)
    found = Intercept.fit(p, y)
    glm = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=logit(p, 1e-12)).fit(tol=1e-14)
    assert found.intercept == pytest.approx(glm.params[0], abs=1e-8)
    assert found(p).mean() == pytest.approx(y.mean(), abs=1e-9)


def test_auto_of_a_method_is_that_method_where_there_are_events_for_it() -> None:
    p, y = sample(22, 400)
    assert fit_calibration({"auto": "intercept"}, two(p), y, BINARY) == fit_calibration("intercept", two(p), y, BINARY)
    few, (said,) = fit_calibration({"auto": "intercept"}, two(p), (np.arange(400) < 9).astype(np.int64), BINARY)
    assert few.method == "none" and said.id == "calibration_skipped"
    three = np.full((30, 3), 1 / 3)
    assert fit_calibration({"auto": "intercept"}, three, np.arange(30) % 3, THREE)[0].method == "none"
    for wrong in ({"auto": "auto"}, {"auto": "platt"}, {"sigmoid": 2}, {"auto": "beta", "n": 3}):
        with pytest.raises(PlanError, match=r"is not known|cannot read"):
            fit_calibration(wrong, two(p), y, BINARY)


def test_boosted_trees_get_their_mean_corrected_unless_class_weights_bend_them() -> None:
    from bedside.models.catalogue import default_calibration

    assert default_calibration("lightgbm") == {"auto": "intercept"}
    assert default_calibration({"name": "lightgbm", "class_weight": "balanced"}) == "auto"
    assert default_calibration("logistic") == "none"
    assert default_calibration("random_forest") == "auto"
