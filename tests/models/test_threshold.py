"""Thresholds: each rule against a search over every possible cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.cohort.digest import canonical_json
from bedside.errors import DataError, PlanError
from bedside.models.task import Classify
from bedside.models.threshold import Threshold, choose

TASK = Classify("y", ("no", "yes"), "yes", costs={"false_negative": 9, "false_positive": 1})

samples = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({y for _, y in rows}) == 2
)


def cuts(p: np.ndarray) -> list[float]:
    """Every cut that calls a different set of rows, ascending."""
    return [*np.unique(p), float(np.nextafter(p.max(), 2))]


def rates(p: np.ndarray, y: np.ndarray, cut: float) -> tuple[float, float]:
    called = p >= cut
    return (called & (y == 1)).sum() / (y == 1).sum(), (~called & (y == 0)).sum() / (y == 0).sum()


@settings(max_examples=150, deadline=None)
@given(rows=samples, at=st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.95, 1.0]))
def test_rules_are_the_best_of_all_cuts(rows: list[tuple[int, bool]], at: float) -> None:
    p = np.array([a / 10 for a, _ in rows])
    y = np.array([int(b) for _, b in rows])
    every = cuts(p)
    both = [rates(p, y, cut) for cut in every]

    youden = choose("youden", p, y, TASK)
    best = max(a + b for a, b in both)
    assert sum(rates(p, y, youden.value)) == pytest.approx(best, abs=1e-12)
    assert youden.value == min(c for c, (a, b) in zip(every, both, strict=True) if a + b > best - 1e-9)

    sensitive = choose({"choose": "sensitivity", "at_least": at, "on": "tune"}, p, y, TASK)
    assert sensitive.value == max(c for c, (a, _) in zip(every, both, strict=True) if a >= at - 1e-12)
    specific = choose({"specificity": at}, p, y, TASK)
    assert specific.value == min(c for c, (_, b) in zip(every, both, strict=True) if b >= at - 1e-12)

    if at < 1:
        found = choose({"net_benefit": {"at": at}}, p, y, TASK)

        def benefit(cut: float) -> float:
            called = p >= cut
            return float((called & (y == 1)).mean() - (called & (y == 0)).mean() * at / (1 - at))

        assert benefit(found.value) == pytest.approx(max(benefit(cut) for cut in every), abs=1e-12)


def test_what_it_gave_is_stored_and_comes_back() -> None:
    p, y = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    found = choose("youden", p, y, TASK)
    # scikit-learn's documentation of roc_curve uses this example: thresholds .8, .4, .35, .1.
    assert (found.value, found.sensitivity, found.specificity, found.n_rows, found.n_events) == (0.35, 1.0, 0.5, 4, 2)
    assert Threshold.from_json(json.loads(canonical_json(found.to_json()))) == found


def test_costs_give_the_threshold_of_decision_theory() -> None:
    p, y = np.array([0.2, 0.6]), np.array([0, 1])
    assert choose("cost", p, y, TASK).value == pytest.approx(0.1)  # 1 / (1 + 9)
    with pytest.raises(PlanError, match="costs"):
        choose("cost", p, y, Classify("y", ("no", "yes"), "yes"))


def test_a_fixed_value_needs_no_events() -> None:
    found = choose(0.2, np.array([0.1, 0.3]), np.array([0, 0]), TASK)
    assert (found.value, found.sensitivity, found.specificity) == (0.2, None, 0.5)


def test_a_searched_threshold_needs_both_classes() -> None:
    with pytest.raises(DataError, match="0 events"):
        choose("youden", np.array([0.1, 0.3]), np.array([0, 0]), TASK)


@pytest.mark.parametrize(
    "spec",
    ["best", {"sensitivity": 1.5}, {"sensitivity": {"at": 0.9}}, {"choose": "youden", "at_least": 0.5}, {"value": True},
     {"choose": "youden", "on": "test"}, "sensitivity", {"net_benefit": 1}],
)  # fmt: skip
def test_a_rule_that_cannot_be_read_is_an_error_of_the_plan(spec: object) -> None:
    with pytest.raises(PlanError):
        choose(spec, np.array([0.1, 0.3]), np.array([0, 1]), TASK)


@settings(max_examples=60, deadline=None)
@given(rows=samples, at=st.sampled_from([0.05, 0.3, 0.5, 0.95, 1.0]), seed=st.integers(0, 99))
def test_a_row_of_weight_2_is_two_rows(rows: list[tuple[int, bool]], at: float, seed: int) -> None:
    p = np.array([a / 10 for a, _ in rows])
    y = np.array([int(b) for _, b in rows])
    w = np.random.default_rng(seed).integers(1, 4, len(y))
    rules = ["youden", "cost", 0.4, {"sensitivity": at}, {"specificity": at}, {"net_benefit": {"at": min(at, 0.5)}}]
    for rule in rules:
        weighted = choose(rule, p, y, TASK, w.astype(np.float64))
        repeated = choose(rule, np.repeat(p, w), np.repeat(y, w), TASK)
        assert weighted.value == repeated.value
        assert weighted.sensitivity == pytest.approx(repeated.sensitivity, abs=1e-12)
        assert weighted.specificity == pytest.approx(repeated.specificity, abs=1e-12)
        assert (weighted.n_rows, weighted.n_events) == (len(y), y.sum())  # patients, not weights


def test_a_row_of_weight_0_has_no_say() -> None:
    p, y = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 0, 1])
    assert choose("youden", p, y, TASK, np.array([1.0, 0.0, 1.0, 1.0])).value == 0.8
    with pytest.raises(DataError, match="both classes"):
        choose("youden", p, y, TASK, np.array([1.0, 0.0, 1.0, 0.0]))
