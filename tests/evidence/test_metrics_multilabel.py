"""Means over labels: equal to the labels' own metrics; correlated labels are not taken for new data."""

from __future__ import annotations

import numpy as np
import pytest

from bedside.evidence.metrics import multilabel as m
from bedside.evidence.metrics.binary import brier
from bedside.evidence.metrics.multiclass import mean_auroc
from bedside.evidence.metrics.ranking import Ranking, auroc, auroc_influence, ranking_of
from bedside.evidence.metrics.rows import Subjects


def cases(n: int = 400, seed: int = 0, unknown: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n, 3), some unknown, and probabilities that tell them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    y = (rng.random((n, 3)) < 1 / (1 + np.exp(0.5 - z))).astype(np.int64)
    y[rng.random((n, 3)) < unknown] = -1
    return y, 1 / (1 + np.exp(0.3 - 0.9 * z))


def test_each_mean_is_the_mean_of_the_labels_own_metric() -> None:
    y, p = cases()
    known = [y[:, k] >= 0 for k in range(3)]
    own = [auroc(y[rows, k], p[rows, k]).value for k, rows in enumerate(known)]
    assert m.macro_auroc(y, p).value == pytest.approx(np.mean(own), abs=1e-14)
    own = [brier(y[rows, k], p[rows, k]).value for k, rows in enumerate(known)]
    assert m.macro_brier(y, p).value == pytest.approx(np.mean(own), abs=1e-14)
    call = p > 0.4
    own = [call[y[:, k] == 1, k].mean() for k in range(3)]
    assert m.macro_sensitivity(y, call).value == pytest.approx(np.mean(own), abs=1e-14)
    own = [(~call[y[:, k] == 0, k]).mean() for k in range(3)]
    assert m.macro_specificity(y, call).value == pytest.approx(np.mean(own), abs=1e-14)


def test_one_label_twice_is_no_more_evidence() -> None:
    """The same label twice has the standard error of the one: by influence summed over labels, not of 2n rows."""
    y, p = cases(unknown=0.0)
    once = auroc_influence(ranking_of(y[:, 0], p[:, 0], None, None))
    se = float(np.sqrt((once[1] ** 2).sum() * len(y) / (len(y) - 1)))
    assert m.macro_auroc(np.repeat(y[:, :1], 2, axis=1), np.repeat(p[:, :1], 2, axis=1)).se == pytest.approx(se)
    # and three different ones together have less spread than the worst of them
    assert m.macro_auroc(y, p).se < se


def test_rows_that_know_nothing_and_their_probabilities_do_not_matter() -> None:
    y, p = cases()
    other = np.where(y < 0, 0.123, p)
    call = p > 0.4
    for found, again in (
        (m.macro_auroc(y, p), m.macro_auroc(y, other)),
        (m.macro_brier(y, p), m.macro_brier(y, other)),
        (m.macro_sensitivity(y, call), m.macro_sensitivity(y, np.where(y < 0, False, call))),
    ):
        assert (found.value, found.se) == pytest.approx((again.value, again.se))


@pytest.mark.parametrize("subjects", [None, "pairs"])
def test_the_standard_error_is_the_bootstraps(subjects: str | None) -> None:
    """600 bootstrap samples of subjects (fixed seed); their spread is within 12 % of the formula's."""
    y, p = cases(240, seed=5)
    codes = np.arange(240) if subjects is None else np.arange(240) // 2
    call = p > 0.4
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {"auroc": [], "brier": [], "sensitivity": []}
    for _ in range(600):
        chosen = rng.integers(0, codes[-1] + 1, codes[-1] + 1)
        rows = np.concatenate([np.flatnonzero(codes == each) for each in chosen])
        drawn["auroc"].append(m.macro_auroc(y[rows], p[rows]).value)
        drawn["brier"].append(m.macro_brier(y[rows], p[rows]).value)
        drawn["sensitivity"].append(m.macro_sensitivity(y[rows], call[rows]).value)
    given = codes if subjects else None
    found = {
        "auroc": m.macro_auroc(y, p, subject=given),
        "brier": m.macro_brier(y, p, subject=given),
        "sensitivity": m.macro_sensitivity(y, call, subject=given),
    }
    for name, values in drawn.items():
        assert found[name].se == pytest.approx(np.std(values), rel=0.12), name
        assert found[name].low < found[name].value < found[name].high


def test_a_difference_is_paired() -> None:
    y, p = cases()
    same = m.macro_auroc_difference(y, p, p)
    assert same.value == same.low == same.high == 0
    worse = 0.5 * p + 0.25 * np.random.default_rng(1).random(p.shape)
    gap = m.macro_auroc_difference(y, p, worse)
    assert gap.value == pytest.approx(m.macro_auroc(y, p).value - m.macro_auroc(y, worse).value)
    assert gap.low > 0


def test_all_right_still_has_an_interval() -> None:
    y, _ = cases(60)
    found = m.macro_sensitivity(y, y == 1)
    assert found.value == found.high == 1 and 0.8 < found.low < 1
    found = m.macro_auroc(y, np.where(y == 1, 0.9, 0.1))
    assert found.value == 1 and found.low < 1


def test_what_cannot_be_known_is_refused() -> None:
    y, p = cases(50)
    with pytest.raises(ValueError, match="one class only"):
        m.macro_auroc(np.where(y == 1, 0, y), p)
    with pytest.raises(ValueError, match="no row"):
        m.macro_sensitivity(np.where(y == 1, 0, y), p > 0.5)
    with pytest.raises(ValueError, match="no row knows"):
        m.macro_brier(np.column_stack([y[:, :2], np.full(50, -1)]), p)
    with pytest.raises(ValueError, match="1, 0 and -1"):
        m.label_codes(np.array([[2, 0]]))


def test_the_mean_of_aurocs_takes_rows_of_its_own() -> None:
    """With all rows known it is the multi-class mean over the same rankings."""
    y, p = cases(unknown=0.0)
    subjects = Subjects.of(None, len(y))
    whole = [(Ranking.of(y[:, k] == 1, p[:, k], None, subjects), None) for k in range(3)]
    assert mean_auroc(whole, len(y), subjects, 0.95) == m.macro_auroc(y, p)
