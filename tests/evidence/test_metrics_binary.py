"""Losses of probabilities: scikit-learn's values to 1e-12, intervals by subject."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from bedside.evidence.metrics.binary import brier, log_loss, scaled_brier
from bedside.evidence.metrics.bootstrap import bootstrap


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n)
    return (rng.random(n) < p).astype(int), p, rng.integers(0, n // 3, n)


@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_scikit_learns(weighted: bool) -> None:
    for seed in range(5):
        y, p, _ = rows(500, seed)
        p[:4] = [0.0, 1.0, 0.0, 1.0]  # certain and, for some, wrong
        w = np.random.default_rng(seed).random(500) if weighted else None
        assert brier(y, p, weights=w).value == pytest.approx(sk.brier_score_loss(y, p, sample_weight=w), abs=1e-12)
        assert log_loss(y, p, weights=w).value == pytest.approx(sk.log_loss(y, p, sample_weight=w), rel=1e-12)
        rate = np.full(500, np.average(y, weights=w))
        reference = sk.brier_score_loss(y, rate, sample_weight=w)
        assert scaled_brier(y, p, weights=w).value == pytest.approx(
            1 - sk.brier_score_loss(y, p, sample_weight=w) / reference, abs=1e-12
        )


@pytest.mark.parametrize("metric", [brier, log_loss, scaled_brier])
def test_standard_errors_are_those_of_the_subject_bootstrap(metric) -> None:  # type: ignore[no-untyped-def]
    y, p, subject = rows(900, 7)
    y = np.where(subject % 3 == 0, (subject % 2), y)  # outcomes cluster

    def values(weights: np.ndarray) -> np.ndarray:
        return np.array([metric(y, p, weights=w).value for w in weights])

    _, draws = bootstrap(values, 900, subject=subject, replicates=500, seed=1)
    found = metric(y, p, subject=subject)
    assert found.se == pytest.approx(draws.std(), rel=0.15)
    assert found.method == "delta_log_clustered"
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", [brier, log_loss, scaled_brier])
def test_doubling_the_rows_of_every_subject_changes_nothing(metric) -> None:  # type: ignore[no-untyped-def]
    y, p, subject = rows(200, 8)
    once = metric(y, p, subject=subject)
    twice = metric(np.repeat(y, 2), np.repeat(p, 2), subject=np.repeat(subject, 2))
    assert (twice.value, twice.se, twice.low) == pytest.approx((once.value, once.se, once.low), abs=1e-12)


def test_a_perfect_forecast_keeps_a_width() -> None:
    y = np.repeat([0, 1], 30)
    found = brier(y, y.astype(float))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1.959964**2 / (60 + 1.959964**2), rel=1e-6)  # Wilson's 0 of 60
    scaled = scaled_brier(y, y.astype(float))
    assert scaled.value == scaled.high == 1.0
    assert scaled.low == pytest.approx(1 - found.high / 0.25)


def test_a_coin_loses_a_quarter_whatever_happens() -> None:
    found = brier([0, 1, 0, 1], [0.5] * 4)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: brier([0, 1], [0.1, 1.1]), r"\[0, 1\]"),
        (lambda: brier([0, 1], [0.1, np.nan]), "missing"),
        (lambda: brier([0, 1], [0.1, 0.9]), "all rows lose the same"),
        (lambda: log_loss([0, 1], [0.0, 1.0]), "all rows lose the same"),
        (lambda: scaled_brier([1, 1], [0.5, 0.6]), "one class only"),
        (lambda: brier([0, 1], [0.2, 0.6], subject=[4, 4]), "one subject only"),
        (lambda: brier([], []), "non-empty"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
