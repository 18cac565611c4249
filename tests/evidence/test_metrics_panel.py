"""The panel: the same numbers as the single metrics, overall and by group, over one sort."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bedside.evidence.metrics import METHODS, Interval, Refused, binary_panel
from bedside.evidence.metrics.binary import brier, log_loss, scaled_brier
from bedside.evidence.metrics.calibration import calibration_in_the_large, calibration_slope, oe_ratio
from bedside.evidence.metrics.calibration_error import calibration_errors, ece
from bedside.evidence.metrics.calls import (
    accuracy,
    balanced_accuracy,
    f1,
    mcc,
    npv,
    ppv,
    sensitivity,
    specificity,
)
from bedside.evidence.metrics.panel import OF_CALLS, OF_PROBABILITIES, Part
from bedside.evidence.metrics.precision_recall import average_precision
from bedside.evidence.metrics.ranking import auroc

OF_P = {
    "auroc": auroc,
    "brier": brier,
    "scaled_brier": scaled_brier,
    "log_loss": log_loss,
    "calibration_in_the_large": calibration_in_the_large,
    "calibration_slope": calibration_slope,
    "oe_ratio": oe_ratio,
}
WITH_SEED = {"average_precision": average_precision, "ece": ece}
OF_CALL = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "mcc": mcc,
}


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lp = rng.normal(-1, 1.2, n)
    subject = rng.integers(0, n // 3, n)
    y = rng.random(n) < expit(0.2 + 0.8 * lp + rng.normal(0, 0.5, n // 3)[subject])
    return y.astype(int), np.round(expit(lp), 3), subject, rng.integers(-1, 3, n)


def singles(y: np.ndarray, p: np.ndarray, **given: object) -> dict[str, Interval]:
    found = {name: metric(y, p, **given) for name, metric in OF_P.items()}  # type: ignore[operator]
    found |= {name: metric(y, p, seed=4, **given) for name, metric in WITH_SEED.items()}  # type: ignore[operator]
    found |= calibration_errors(y, p, seed=4, **given)  # type: ignore[arg-type]
    return found | {name: metric(y, p >= 0.3, **given) for name, metric in OF_CALL.items()}  # type: ignore[operator]


def same(part: Part, expected: dict[str, Interval]) -> None:
    assert set(part.estimates) == set(expected)
    for name, single in expected.items():
        found = part.estimates[name]
        assert isinstance(found, Interval), name
        assert (found.method, found.n_rows, found.n_subjects) == (single.method, single.n_rows, single.n_subjects), name
        # A joint bootstrap of several sets draws for all subjects at once, so its percentiles are others' draws.
        near = 0.03 if name == "average_precision" else 1e-9
        assert (found.value, found.low, found.high) == pytest.approx(
            (single.value, single.low, single.high), abs=near
        ), name


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_estimate_is_that_of_its_own_function(clustered: bool, weighted: bool) -> None:
    y, p, subject, group = rows(900, 1)
    given: dict[str, np.ndarray] = {"subject": subject} if clustered else {}
    if weighted:
        given["weights"] = np.random.default_rng(2).random(900) + 0.2
    panel = binary_panel(y, p, call=0.3, groups={"site": group}, seed=4, **given)  # type: ignore[arg-type]
    same(panel["overall"], singles(y, p, **given))
    assert set(panel["groups"]["site"]) == {0, 1, 2}
    for code, part in panel["groups"]["site"].items():
        mine = group == code
        same(part, singles(y[mine], p[mine], **{name: values[mine] for name, values in given.items()}))
        assert (part.n_rows, part.n_events) == (mine.sum(), y[mine].sum())
        assert part.n_subjects == (len(np.unique(subject[mine])) if clustered else mine.sum())


def test_its_metrics_and_methods_are_named() -> None:
    y, p, subject, _ = rows(400, 2)
    for given in ({}, {"subject": subject}):
        part = binary_panel(y, p, call=0.3, seed=0, replicates=50, **given)["overall"]  # type: ignore[arg-type]
        assert tuple(part.estimates) == OF_PROBABILITIES + tuple(OF_CALLS)
        for estimate in part.estimates.values():
            assert isinstance(estimate, Interval)
            assert estimate.method in METHODS


def test_without_a_call_there_are_no_metrics_of_calls() -> None:
    y, p, _, _ = rows(200, 3)
    assert tuple(binary_panel(y, p, seed=0, replicates=50)["overall"].estimates) == OF_PROBABILITIES


def test_calls_may_be_given() -> None:
    y, p, _, _ = rows(200, 4)
    a = binary_panel(y, p, call=0.3, seed=0, replicates=50)
    b = binary_panel(y, p, call=(p >= 0.3).astype(int), seed=0, replicates=50)
    assert a == b


def test_a_group_with_one_class_is_refused_by_metric_and_says_why() -> None:
    y, p, _, _ = rows(300, 5)
    group = np.where(y == 0, 0, 1)
    group[:40] = 2
    part = binary_panel(y, p, call=0.3, groups={"g": group}, seed=0, replicates=100)["groups"]["g"][0]
    assert part.n_events == 0
    for name in ("auroc", "average_precision", "calibration_slope", "ici", "sensitivity"):
        found = part.estimates[name]
        assert isinstance(found, Refused)
        assert "one class only" in found.reason or "no row with the event" in found.reason
    assert isinstance(part.estimates["specificity"], Interval)
    assert isinstance(part.estimates["brier"], Interval)


def test_one_row_and_one_subject_groups_do_not_break_it() -> None:
    y, p, subject, _ = rows(100, 6)
    group = np.zeros(100, dtype=int)
    group[7] = 5
    subject[group == 0] += 1
    subject[7] = 0
    part = binary_panel(y, p, groups={"g": group}, subject=subject, seed=0, replicates=50)["groups"]["g"][5]
    assert part.n_rows == 1
    assert all(isinstance(found, Refused) and found.reason for found in part.estimates.values())


def test_a_group_of_one_subject_is_refused_and_others_are_not() -> None:
    y, p, subject, _ = rows(200, 9)
    y[:2], subject[:2] = [0, 1], 500
    group = (np.arange(200) >= 2).astype(int)
    panel = binary_panel(y, p, call=0.3, groups={"g": group}, subject=subject, seed=0, replicates=50)
    one = panel["groups"]["g"][0]
    assert (one.n_rows, one.n_subjects) == (2, 1)
    for name in ("auroc", "average_precision", "brier", "ece"):
        found = one.estimates[name]
        assert isinstance(found, Refused) and "one subject only" in found.reason, name
    assert all(isinstance(found, Interval) for found in panel["groups"]["g"][1].estimates.values())
    alone = binary_panel(y, p, subject=np.zeros(200, dtype=int), seed=0, replicates=50)["overall"]
    assert isinstance(alone.estimates["average_precision"], Refused)


def test_order_of_rows_changes_nothing_without_subjects() -> None:
    y, p, _, group = rows(500, 7)
    shuffled = np.random.default_rng(0).permutation(500)
    a = binary_panel(y, p, call=0.3, groups={"g": group}, seed=1, replicates=100)
    b = binary_panel(y[shuffled], p[shuffled], call=0.3, groups={"g": group[shuffled]}, seed=1, replicates=100)
    for one, other in ((a["overall"], b["overall"]), (a["groups"]["g"][1], b["groups"]["g"][1])):
        for name, found in one.estimates.items():
            again = other.estimates[name]
            assert isinstance(found, Interval) and isinstance(again, Interval)
            assert (again.value, again.low, again.high) == pytest.approx((found.value, found.low, found.high), abs=1e-9)


def test_level_of_the_groups() -> None:
    y, p, _, group = rows(500, 8)
    a = binary_panel(y, p, groups={"g": group}, seed=0, replicates=100)
    b = binary_panel(y, p, groups={"g": group}, group_level=0.99, seed=0, replicates=100)
    assert a["overall"] == b["overall"]
    for name in ("auroc", "brier", "calibration_slope"):
        narrow, wide = a["groups"]["g"][0].estimates[name], b["groups"]["g"][0].estimates[name]
        assert isinstance(narrow, Interval) and isinstance(wide, Interval)
        assert wide.low < narrow.low and wide.high > narrow.high


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"y": []}, "non-empty"),
        ({"p": [0.1, 0.2, 1.3, 0.4]}, r"\[0, 1\]"),
        ({"p": [0.1, 0.2, 0.3]}, "shape"),
        ({"groups": {"sex": [0, 1]}}, "group 'sex'"),
        ({"groups": {"sex": [0.5, 1, 0, 1]}}, "group 'sex'"),
        ({"call": [0, 1]}, "2 calls for 4"),
        ({"subject": [0, 1, 2, -1]}, "without a subject"),
        ({"weights": [1, 1, 1, np.nan]}, "missing"),
    ],
)
def test_rows_no_metric_could_take_are_refused(given: dict[str, object], reason: str) -> None:
    rows_given: dict[str, object] = {"y": [0, 1, 0, 1], "p": [0.1, 0.6, 0.3, 0.4], **given}
    with pytest.raises(ValueError, match=reason):
        binary_panel(seed=0, **rows_given)  # type: ignore[arg-type]
