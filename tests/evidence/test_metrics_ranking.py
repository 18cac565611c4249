"""AUROC: DeLong's published example, pROC's values, the definition by pairs, and the patient as the unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bedside.evidence.metrics.ranking import auroc, auroc_difference, mann_whitney_limits

# DeLong, DeLong and Clarke-Pearson 1988: 43 patients with ovarian cancer and complete tests, as printed in SAS/STAT,
# PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves": albumin, total protein, K-G score, benefit.
PRINTED = """
    3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1"""
OVARIAN = np.array(PRINTED.split(), dtype=np.float64).reshape(-1, 4)
BENEFIT = OVARIAN[:, 3]
ALBUMIN, PROTEIN, KG = OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]

# S100β in 113 patients with subarachnoid haemorrhage (Turck 2010), as counts at the 50 distinct values in ascending
# order: the steps of the ROC curve of Robin et al. 2011, BMC Bioinformatics 12:77 (good outcome, poor outcome).
GOOD = "0 5 3 2 6 6 6 7 4 0 3 4 4 3 2 1 2 0 0 1 0 0 0 1 0 1 1 1 0 1 0 1 0 1 1 2 1 0 2 0 0 0 0 0 0 0 0 0 0 0"
POOR = "1 0 0 0 3 1 2 2 1 1 2 1 0 1 0 0 0 1 1 0 1 1 1 0 1 1 1 0 1 0 1 0 2 0 0 0 1 1 0 1 1 1 1 2 1 1 1 1 1 1"


@pytest.mark.parametrize(
    ("score", "area", "se", "low", "high"),
    [
        (ALBUMIN, 0.7366, 0.0927, 0.5549, 0.9182),
        (KG, 0.7258, 0.1028, 0.5243, 0.9273),
        (PROTEIN, 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_delong_1988_example(score: np.ndarray, area: float, se: float, low: float, high: float) -> None:
    found = auroc(BENEFIT, score, scale="plain")
    assert [round(x, 4) for x in (found.value, found.se, found.low, found.high)] == [area, se, low, high]


@pytest.mark.parametrize(
    ("score", "difference", "se", "low", "high"),
    [(ALBUMIN, 0.0108, 0.0953, -0.1761, 0.1976), (PROTEIN, -0.0780, 0.1046, -0.2830, 0.1271)],
)
def test_delong_1988_paired_example(score: np.ndarray, difference: float, se: float, low: float, high: float) -> None:
    found = auroc_difference(BENEFIT, score, KG)
    assert [round(x, 4) for x in (found.value, found.se, found.low, found.high)] == [difference, se, low, high]
    assert found.method == "delong_paired"


def test_proc_value_for_s100b() -> None:
    good, poor = (np.array(text.split(), dtype=int) for text in (GOOD, POOR))
    score = np.concatenate([np.repeat(np.arange(50.0), good), np.repeat(np.arange(50.0), poor)])
    found = auroc(np.repeat([0, 1], [72, 41]), score, scale="plain")
    # pROC: ci.auc(roc(aSAH$outcome, aSAH$s100b)).
    assert found.value == pytest.approx(0.73136856368563685, abs=1e-15)
    assert (round(found.low, 7), round(found.high, 7)) == (0.6301182, 0.8326189)


def by_pairs(
    y: np.ndarray, score: np.ndarray, subject: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """AUROC and Obuchowski's (1997) standard error by the definition over all pairs."""
    w = np.ones(len(y)) if weights is None else weights
    p, n = np.flatnonzero(y), np.flatnonzero(1 - y)
    psi = (score[p, None] > score[n]) + 0.5 * (score[p, None] == score[n])
    theta = float(w[p] @ psi @ w[n] / (w[p].sum() * w[n].sum()))
    v10, v01 = psi @ w[n] / w[n].sum(), w[p] @ psi / w[p].sum()
    x = np.array([np.sum((w[p] * (v10 - theta))[subject[p] == s]) for s in np.unique(subject)])
    z = np.array([np.sum((w[n] * (v01 - theta))[subject[n] == s]) for s in np.unique(subject)])
    i10, i01, i = len(np.unique(subject[p])), len(np.unique(subject[n])), len(np.unique(subject))
    m, k = w[p].sum(), w[n].sum()
    s10, s01 = i10 / ((i10 - 1) * m) * (x @ x), i01 / ((i01 - 1) * k) * (z @ z)
    return theta, float(np.sqrt(s10 / m + s01 / k + 2 * i / (i - 1) * (x @ z) / (m * k)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_clustered_delong_is_its_definition_by_pairs(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 90
    y = rng.integers(0, 2, n)
    score = np.round(rng.normal(size=n) + y, 1 if seed % 2 else 12)  # ties in every other run
    subject = rng.integers(0, 25, n)
    weights = rng.random(n) if weighted else None
    theta, se = by_pairs(y, score, subject, weights)
    found = auroc(y, score, subject=subject, weights=weights)
    assert found.value == pytest.approx(theta, abs=1e-12)
    assert found.se == pytest.approx(se, abs=1e-12)
    assert found.method == "delong_clustered"
    alone = auroc(y, score, weights=weights)
    assert alone.se == pytest.approx(by_pairs(y, score, np.arange(n), weights)[1], abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(y, score, sample_weight=weights), abs=1e-12)
    other = rng.normal(size=n) + y
    paired = auroc_difference(y, score, other, subject=subject, weights=weights)
    assert paired.value == pytest.approx(theta - by_pairs(y, other, subject, weights)[0], abs=1e-12)


def test_paired_clustered_difference_has_the_variance_of_its_parts() -> None:
    # var(a - b) + var(a + b) = 2 var(a) + 2 var(b): a + b is a against minus b.
    rng = np.random.default_rng(3)
    y, subject = rng.integers(0, 2, 120), rng.integers(0, 40, 120)
    a, b = rng.normal(size=120) + y, rng.normal(size=120) + y
    parts = [auroc(y, x, subject=subject).se ** 2 for x in (a, b)]
    minus, plus = (auroc_difference(y, a, x, subject=subject).se ** 2 for x in (b, -b))
    assert minus + plus == pytest.approx(2 * sum(parts), rel=1e-10)


def test_doubling_the_rows_of_every_subject_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    y, score = rng.integers(0, 2, 80), np.round(rng.normal(size=80), 1)
    subject = rng.integers(0, 30, 80)
    once = auroc(y, score, subject=subject)
    twice = auroc(np.repeat(y, 2), np.repeat(score, 2), subject=np.repeat(subject, 2))
    assert (twice.value, twice.se, twice.low, twice.high) == pytest.approx(
        (once.value, once.se, once.low, once.high), abs=1e-12
    )
    single = auroc(y, score)
    doubled = auroc(np.repeat(y, 2), np.repeat(score, 2), subject=np.repeat(np.arange(80), 2))
    assert doubled.se == pytest.approx(single.se, abs=1e-12)


def test_order_of_rows_and_monotone_scores_change_nothing() -> None:
    rng = np.random.default_rng(5)
    y, score, subject = rng.integers(0, 2, 200), rng.normal(size=200), rng.integers(0, 60, 200)
    shuffled = rng.permutation(200)
    first = auroc(y, score, subject=subject)
    again = auroc(y[shuffled], np.exp(score[shuffled]), subject=subject[shuffled])
    assert again.value == first.value
    assert (again.se, again.low, again.high) == pytest.approx((first.se, first.low, first.high), abs=1e-13)
    reverse = auroc(1 - y, -score, subject=subject)
    assert (reverse.value, reverse.se) == pytest.approx((first.value, first.se), abs=1e-13)


@pytest.mark.parametrize("mixed", [False, True])
def test_clustered_interval_covers_and_the_unclustered_one_does_not(mixed: bool) -> None:
    """60 subjects of 6 rows that share an effect of variance 1 beside noise of variance 1; the event shifts by 1."""
    rng = np.random.default_rng(6)
    subjects, rows = 60, 6
    subject = np.repeat(np.arange(subjects), rows)
    y = np.tile(np.arange(rows) % 2, subjects) if mixed else np.repeat(np.arange(subjects) % 2, rows)
    across, within = (stats.norm.cdf(1 / np.sqrt(v)) for v in (4.0, 2.0))
    truth = across + (within - across) / subjects if mixed else across  # 1 in `subjects` pairs is of one subject
    covered = naive = 0
    for _ in range(1000):
        score = y + np.repeat(rng.normal(size=subjects), rows) + rng.normal(size=subjects * rows)
        found = auroc(y, score, subject=subject)
        covered += found.low <= truth <= found.high
        alone = auroc(y, score)
        naive += alone.low <= truth <= alone.high
    # With a coverage in 0.93..0.97, outside 896..992 has probability < 1e-4.
    assert 896 <= covered <= 992
    assert naive > 985 if mixed else naive < 850


def test_shuffled_labels_hold_one_half() -> None:
    rng = np.random.default_rng(7)
    y, score, subject = rng.random(3000) < 0.2, rng.normal(size=3000), rng.integers(0, 900, 3000)
    held = 0
    for _ in range(400):
        found = auroc(rng.permutation(y), score, subject=subject)
        held += found.low <= 0.5 <= found.high
    assert 350 <= held <= 399  # binomial(400, 0.93..0.97) leaves this with probability < 1e-4


def test_perfect_separation_keeps_an_honest_interval() -> None:
    y = np.repeat([0, 1], [30, 20])
    found = auroc(y, y + np.linspace(0, 0.5, 50))
    assert (found.value, found.high, found.method) == (1.0, 1.0, "mann_whitney_score")
    assert 0.85 < found.low < 0.95
    worst = auroc(y, -y + np.linspace(0, 0.5, 50))
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(1 - found.low, abs=1e-9)
    # Ten rows a subject are no ten patients.
    clustered = auroc(y, y + np.linspace(0, 0.5, 50), subject=np.arange(50) // 10)
    assert clustered.low < found.low


def test_score_interval_solves_its_equation() -> None:
    # Newcombe 2006 (part 2), method 5: (θ̂ - θ)² = z² V(θ), V with N* = (m + n)/2 - 1 in both exponential terms.
    low, high = mann_whitney_limits(0.8, 20, 30, level=0.95)
    for t in (low, high):
        star = 24
        v = t * (1 - t) * (1 + star * (1 - t) / (2 - t) + star * t / (1 + t)) / 600
        assert (0.8 - t) ** 2 == pytest.approx(stats.norm.ppf(0.975) ** 2 * v, rel=1e-9)
    assert low < 0.8 < high


def test_constant_score_is_one_half_with_a_width() -> None:
    found = auroc([0, 1, 0, 1, 0, 1], [0.3] * 6)
    assert found.value == 0.5
    assert found.low < 0.2 and found.high > 0.8


def test_difference_of_equal_and_of_two_perfect_scores() -> None:
    rng = np.random.default_rng(8)
    y, score = np.repeat([0, 1], 25), rng.normal(size=50)
    same = auroc_difference(y, score, score * 3 + 1)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    perfect = auroc_difference(y, y + score / 100, y - score / 100)
    assert perfect.value == 0.0
    assert perfect.low < -0.05 and perfect.high > 0.05


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: auroc([0, 0], [0.1, 0.2]), "one class only"),
        (lambda: auroc([1, 1], [0.1, 0.2]), "one class only"),
        (lambda: auroc([0, 1, 0], [0.1, 0.2, 0.3]), "one subject only with the event"),
        (lambda: auroc([0, 1, 1], [0.1, 0.2, 0.3]), "one subject only without the event"),
        (lambda: auroc([0, 1, 0, 1], [1, 2, 3, 4], subject=[0, 1, 0, 1]), "one subject only"),
        (lambda: auroc([0, 1], [0.1, np.nan]), "missing"),
        (lambda: auroc([0, 1], [0.1, 0.2, 0.3]), "shape"),
        (lambda: auroc([0, 1], ["a", "b"]), "must be numbers"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()


def test_a_hundred_thousand_rows_with_ties_and_subjects_in_a_moment() -> None:
    rng = np.random.default_rng(9)
    y, score = rng.random(10**5) < 0.1, np.round(rng.normal(size=10**5), 2)
    found = auroc(y, score, subject=rng.integers(0, 40000, 10**5))
    assert found.low < 0.5 < found.high
    assert found.value == pytest.approx(roc_auc_score(y, score), abs=1e-14)
