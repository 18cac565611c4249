"""The mean of a column, and curves of few points."""

import numpy as np
import pytest
from sklearn import metrics as sk

from bedside.evidence.metrics.curves import precision_recall_curve, roc_curve
from bedside.evidence.metrics.mean import mean


def test_mean_of_independent_rows_is_the_normal_interval():
    x = np.random.default_rng(0).normal(3, 2, 500)
    found = mean(x)
    half = 1.959963984540054 * x.std(ddof=1) / np.sqrt(500)
    assert (found.value, found.low, found.high) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))
    assert (found.method, found.n_rows, found.n_subjects) == ("delta", 500, 500)


def test_repeated_rows_of_a_patient_do_not_narrow_the_interval():
    x = np.random.default_rng(0).normal(size=200)
    once, often = mean(x), mean(np.repeat(x, 5), subject=np.repeat(np.arange(200), 5))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_weights_and_refusals():
    assert mean([1.0, 2.0, 4.0], weights=[1, 1, 2]).value == pytest.approx(2.75)
    with pytest.raises(ValueError, match="no rows"):
        mean([])
    with pytest.raises(ValueError, match="one subject"):
        mean([1.0, 2.0], subject=[0, 0])


def scores(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.random(n) < 0.3
    return y, np.round(y + rng.normal(size=n), 2)


def test_all_points_of_a_short_curve_are_scikit_learns():
    y, score = scores(60)
    x, height = roc_curve(y, score)
    fpr, tpr, _ = sk.roc_curve(y, score, drop_intermediate=False)
    assert x.tolist() == pytest.approx(fpr.tolist()) and height.tolist() == pytest.approx(tpr.tolist())
    recall, precision = precision_recall_curve(y, score)
    expected_precision, expected_recall, _ = sk.precision_recall_curve(y, score)
    assert recall.tolist() == pytest.approx(expected_recall[::-1][1:].tolist())
    assert precision.tolist() == pytest.approx(expected_precision[::-1][1:].tolist())


@pytest.mark.parametrize("points", [5, 50, 200])
def test_a_long_curve_is_thinned_and_keeps_its_ends(points):
    y, score = scores(20_000)
    score = score + np.random.default_rng(2).normal(0, 1e-3, 20_000)
    x, height = roc_curve(y, score, points=points)
    assert 2 < len(x) <= points
    assert (x[0], height[0], x[-1], height[-1]) == (0, 0, 1, 1)
    fpr, tpr, _ = sk.roc_curve(y, score, drop_intermediate=False)
    assert set(zip(x, height, strict=True)) <= set(zip(fpr, tpr, strict=True))
    recall, _ = precision_recall_curve(y, score, points=points)
    assert len(recall) <= points and recall[-1] == 1


def test_one_class_has_no_curve():
    with pytest.raises(ValueError, match="one class"):
        roc_curve([1, 1], [0.1, 0.2])
