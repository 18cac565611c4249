"""Yes/no calls: scikit-learn's values, intervals that stay honest at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from bedside.evidence.metrics import calls
from bedside.evidence.metrics.bootstrap import bootstrap
from bedside.evidence.metrics.proportions import wilson

ALL = (
    calls.sensitivity,
    calls.specificity,
    calls.ppv,
    calls.npv,
    calls.accuracy,
    calls.balanced_accuracy,
    calls.f1,
    calls.mcc,
)


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    call = np.where(y, rng.random(n) < 0.8, rng.random(n) < 0.2)
    return y.astype(int), call.astype(int), rng.integers(0, n // 3, n)


@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_scikit_learns(weighted: bool) -> None:
    y, call, _ = rows(300, 0)
    w = np.random.default_rng(1).random(300) + 0.1 if weighted else None
    expected = {
        calls.sensitivity: sk.recall_score(y, call, sample_weight=w),
        calls.specificity: sk.recall_score(y, call, pos_label=0, sample_weight=w),
        calls.ppv: sk.precision_score(y, call, sample_weight=w),
        calls.npv: sk.precision_score(y, call, pos_label=0, sample_weight=w),
        calls.accuracy: sk.accuracy_score(y, call, sample_weight=w),
        calls.balanced_accuracy: sk.balanced_accuracy_score(y, call, sample_weight=w),
        calls.f1: sk.f1_score(y, call, sample_weight=w),
        calls.mcc: sk.matthews_corrcoef(y, call, sample_weight=w),
    }
    for metric, value in expected.items():
        assert metric(y, call, weights=w).value == pytest.approx(value, abs=1e-12)
    tn, fp, fn, tp = sk.confusion_matrix(y, call, sample_weight=w).ravel()
    assert calls.confusion(y, call, weights=w) == pytest.approx((tp, fp, fn, tn))


def test_shares_carry_plain_wilson_on_their_own_denominator() -> None:
    y, call, _ = rows(300, 1)
    tp, fp, fn, tn = calls.confusion(y, call)
    for metric, (events, n) in {
        calls.sensitivity: (tp, tp + fn),
        calls.specificity: (tn, tn + fp),
        calls.ppv: (tp, tp + fp),
        calls.npv: (tn, tn + fn),
        calls.accuracy: (tp + tn, 300),
    }.items():
        found, expected = metric(y, call, level=0.9), wilson(events, n, level=0.9)
        assert (found.low, found.high, found.n_rows) == (expected.low, expected.high, n)


@pytest.mark.parametrize("metric", ALL)
def test_doubling_the_rows_of_every_subject_changes_nothing(metric) -> None:  # type: ignore[no-untyped-def]
    y, call, _ = rows(200, 2)
    once = metric(y, call)
    twice = metric(np.repeat(y, 2), np.repeat(call, 2), subject=np.repeat(np.arange(200), 2))
    assert (twice.value, twice.low, twice.high, twice.se) == pytest.approx(
        (once.value, once.low, once.high, once.se), abs=1e-12
    )


@pytest.mark.parametrize("metric", ALL)
def test_standard_errors_are_those_of_the_subject_bootstrap(metric) -> None:  # type: ignore[no-untyped-def]
    y, call, subject = rows(900, 3)
    call = np.where(subject % 4 == 0, 1 - y, call)  # a quarter of the subjects is always wrong

    def values(weights: np.ndarray) -> np.ndarray:
        return np.array([metric(y, call, weights=w).value for w in weights])

    _, draws = bootstrap(values, 900, subject=subject, replicates=400, seed=4)
    # 400 replicates give the standard deviation to 3.5 %; the rest is second-order in 1/300 subjects.
    assert metric(y, call, subject=subject).se == pytest.approx(draws.std(), rel=0.17)


def test_perfect_and_useless_calls_keep_a_width() -> None:
    y = np.repeat([0, 1], [40, 20])
    for metric in ALL:
        best = metric(y, y)
        assert (best.value, best.high) == (1.0, 1.0)
        assert 0.6 < best.low < 0.97
        if metric is not calls.mcc:
            worst = metric(y, 1 - y)
            assert (worst.value, worst.low) == (0.0, 0.0)
            assert 0.03 < worst.high < 0.4
    inverse = calls.mcc(y, 1 - y)
    assert inverse.value == -1.0 and -0.97 < inverse.high < -0.6
    # Ten rows of each of six patients say less than sixty patients.
    assert calls.mcc(y, y, subject=np.arange(60) // 10).low < calls.mcc(y, y).low


def test_intervals_cover() -> None:
    # Prevalence .3, sensitivity .8, specificity .8: PPV .24/.38, F1 .48/.68, MCC from the cell shares.
    phi = (0.24 * 0.56 - 0.14 * 0.06) / np.sqrt(0.38 * 0.30 * 0.70 * 0.62)
    truths = {calls.f1: 0.48 / 0.68, calls.mcc: phi, calls.balanced_accuracy: 0.8, calls.ppv: 0.24 / 0.38}
    covered = dict.fromkeys(truths, 0)
    for seed in range(1000):
        y, call, _ = rows(150, 1000 + seed)
        for metric, truth in truths.items():
            found = metric(y, call)
            covered[metric] += found.low <= truth <= found.high
    for count in covered.values():
        assert 896 <= count <= 992  # a coverage in 0.93..0.97 leaves this with probability < 1e-4


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: calls.sensitivity([0, 0], [0, 1]), "no row with the event"),
        (lambda: calls.specificity([1, 1], [0, 1]), "no row without the event"),
        (lambda: calls.ppv([0, 1], [0, 0]), "no row is called"),
        (lambda: calls.npv([0, 1], [1, 1]), "every row is called"),
        (lambda: calls.f1([0, 0], [0, 0]), "F1 is undefined"),
        (lambda: calls.mcc([0, 1], [1, 1]), "MCC is undefined"),
        (lambda: calls.balanced_accuracy([1, 1], [1, 1]), "no row without"),
        (lambda: calls.accuracy([0, 1], [1]), "1 calls for 2 labels"),
        (lambda: calls.sensitivity([0, 1], [0.4, 0.6]), "0 or 1"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
