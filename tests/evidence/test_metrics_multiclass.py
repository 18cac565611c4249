"""Several classes: scikit-learn's values, intervals by subject."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from bedside.evidence.metrics import binary, multiclass, ranking
from bedside.evidence.metrics.bootstrap import bootstrap


def rows(n: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities, calls, and subjects that share an effect."""
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, n // 4, n)
    y = rng.integers(0, classes, n // 4)[subject]
    y = np.where(rng.random(n) < 0.5, y, rng.integers(0, classes, n))
    logits = rng.normal(size=(n, classes)) + rng.normal(size=(n // 4, classes))[subject]
    logits[np.arange(n), y] += 1.2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, p, p.argmax(axis=1), subject


@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_scikit_learns(weighted: bool) -> None:
    y, p, call, _ = rows(400, 0)
    w = np.random.default_rng(1).random(400) + 0.1 if weighted else None
    assert multiclass.macro_auroc(y, p, weights=w).value == pytest.approx(
        sk.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=w), abs=1e-12
    )
    assert multiclass.accuracy(y, call, 3, weights=w).value == pytest.approx(
        sk.accuracy_score(y, call, sample_weight=w), abs=1e-12
    )
    assert multiclass.macro_f1(y, call, 3, weights=w).value == pytest.approx(
        sk.f1_score(y, call, average="macro", sample_weight=w), abs=1e-12
    )
    assert multiclass.log_loss(y, p, weights=w).value == pytest.approx(sk.log_loss(y, p, sample_weight=w), abs=1e-12)
    one_hot = np.eye(3)[y]
    expected = np.average(((p - one_hot) ** 2).sum(axis=1), weights=w)
    assert multiclass.brier(y, p, weights=w).value == pytest.approx(expected, abs=1e-12)
    assert multiclass.confusion_matrix(y, call, 3, weights=w) == pytest.approx(
        sk.confusion_matrix(y, call, sample_weight=w)
    )
    for agreement, name in (("exact", None), ("linear", "linear"), ("quadratic", "quadratic")):
        found = multiclass.kappa(y, call, 3, agreement=agreement, weights=w)  # type: ignore[arg-type]
        assert found.value == pytest.approx(sk.cohen_kappa_score(y, call, weights=name, sample_weight=w), abs=1e-12)


def test_hand_till_is_scikit_learns_one_vs_one() -> None:
    for seed in range(3):
        y, p, _, _ = rows(300, seed, 4)
        p = np.round(p, 2)
        p[:, 0] = 1 - p[:, 1:].sum(axis=1)
        p = np.clip(p, 0, 1)
        expected = sk.roc_auc_score(y, p / p.sum(axis=1, keepdims=True), multi_class="ovo", average="macro")
        found = multiclass.hand_till(y, p / p.sum(axis=1, keepdims=True))
        assert found.value == pytest.approx(expected, abs=1e-12)


def test_two_classes_are_the_binary_metrics() -> None:
    y, p, _, subject = rows(400, 2, 2)
    area = ranking.auroc(y, p[:, 1], subject=subject)
    assert multiclass.macro_auroc(y, p, subject=subject).value == pytest.approx(area.value, abs=1e-12)
    assert multiclass.macro_auroc(y, p, subject=subject).se == pytest.approx(area.se, rel=0.02)
    both, one = multiclass.brier(y, p, subject=subject), binary.brier(y, p[:, 1], subject=subject)
    assert (both.value, both.se, both.high) == pytest.approx((2 * one.value, 2 * one.se, 2 * one.high), abs=1e-12)


@pytest.mark.parametrize("name", ["macro_auroc", "hand_till", "macro_f1", "kappa", "quadratic", "brier", "log_loss"])
def test_standard_errors_are_those_of_the_subject_bootstrap(name: str) -> None:
    y, p, call, subject = rows(800, 3)

    def metric(**given):  # type: ignore[no-untyped-def]
        if name == "macro_f1":
            return multiclass.macro_f1(y, call, 3, **given)
        if name in ("kappa", "quadratic"):
            return multiclass.kappa(y, call, 3, agreement="exact" if name == "kappa" else "quadratic", **given)
        return getattr(multiclass, name)(y, p, **given)

    def values(weights: np.ndarray) -> np.ndarray:
        return np.array([metric(weights=w + 1e-12).value for w in weights])

    _, draws = bootstrap(values, 800, subject=subject, replicates=300, seed=4)
    # 300 replicates give the standard deviation to 4 %.
    assert metric(subject=subject).se == pytest.approx(draws.std(), rel=0.2)


def test_all_right_keeps_a_width() -> None:
    y = np.repeat([0, 1, 2], 20)
    p = np.eye(3)[y] * 0.7 + 0.1
    for found in (
        multiclass.macro_auroc(y, p),
        multiclass.hand_till(y, p),
        multiclass.macro_f1(y, y, 3),
        multiclass.kappa(y, y, 3),
        multiclass.accuracy(y, y, 3),
    ):
        assert found.value == found.high == 1.0
        assert 0.7 < found.low < 0.97
    wrong = multiclass.macro_f1(y, (y + 1) % 3, 3)
    assert wrong.value == wrong.low == 0.0 and 0.05 < wrong.high < 0.4


def test_a_class_that_is_neither_seen_nor_called_is_left_out_of_macro_f1() -> None:
    y, call = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 1, 0])
    assert multiclass.macro_f1(y, call, 5).value == pytest.approx(sk.f1_score(y, call, average="macro"))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: multiclass.macro_auroc([0, 1, 0], np.full((3, 3), 1 / 3)), "no row of class 2"),
        (lambda: multiclass.hand_till([0, 1, 0], np.full((3, 3), 1 / 3)), "no row of class 2"),
        (lambda: multiclass.brier([0, 1], [[0.5, 0.6], [0.5, 0.5]]), "add up to 1"),
        (lambda: multiclass.brier([0, 3], [[0.5, 0.5], [0.5, 0.5]]), r"0\.\.1"),
        (lambda: multiclass.brier([0, 1], [0.5, 0.5]), "classes"),
        (lambda: multiclass.kappa([1, 1], [1, 1], 3), "kappa undefined"),
        (lambda: multiclass.accuracy([0.5, 1], [0, 1], 3), "integer codes"),
        (lambda: multiclass.accuracy([0, 1], [0], 3), "1 calls for 2"),
        (lambda: multiclass.log_loss([0, 1], [[np.nan, 0.5], [0.5, 0.5]]), "missing"),
    ],
)
def test_what_is_undefined_is_refused(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        call()
