"""What compressing a network cost: paired differences whose values are known beforehand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from bedside.checks.compression import METRICS, Compression
from bedside.checks.rows import ORIGINAL
from bedside.cohort.cohort import Cohort
from bedside.cohort.schema import Field
from bedside.errors import DataError
from bedside.evidence.estimate import Evidence
from bedside.evidence.gates import Gate, judge
from bedside.models.predictions import Predictions
from bedside.models.task import Classify

N = 400
RNG = np.random.default_rng(0)
Q = RNG.uniform(0.1, 0.8, N)
EVENT = RNG.random(N) < Q
COHORT = Cohort.of(
    {"sex": np.where(np.arange(N) % 2 == 0, "f", "m"), "y": np.where(EVENT, "yes", "no")},
    [Field("sex", "category", ("sensitive",)), Field("y", "category", ("target",))],
    row_id=[f"r{i}" for i in range(N)],
    subject=[f"s{i}" for i in range(N)],
)
TASK = Classify("y", ("no", "yes"), "yes")


def predictions(p: np.ndarray, task: Classify = TASK) -> Predictions:
    columns = np.column_stack([1 - p, p]) if p.ndim == 1 else p
    return Predictions.of_probabilities(task, COHORT["row_id"], columns)


def found(p: np.ndarray, by: tuple[str, ...] = ()) -> Evidence:
    return Compression(by)(predictions(p), COHORT, task=TASK, seed=0, reference={ORIGINAL: predictions(Q)})


def test_the_same_predictions_cost_nothing() -> None:
    made = found(Q, ("sex",))
    assert {item.metric for item in made.estimates} == set(METRICS)
    assert all(item.value == 0 for item in made.estimates)


def test_all_moved_by_a_tenth_the_ranking_is_the_same_and_calibration_is_not() -> None:
    made = found(Q + 0.1)
    assert made.find("auroc_change").value == 0
    for metric in ("probability_shift", "probability_shift_max", "calibration_shift"):
        assert made.find(metric).value == pytest.approx(0.1)
    expected = np.mean((Q + 0.1 - EVENT) ** 2 - (Q - EVENT) ** 2)
    assert made.find("brier_change").value == pytest.approx(expected)


def test_a_shift_of_one_group_alone_shows_in_that_group() -> None:
    men = np.arange(N) % 2 == 1
    made = found(np.where(men, Q + 0.05, Q - 0.05), ("sex",))
    assert made.find("calibration_shift").value == pytest.approx(0, abs=1e-12)
    assert made.find("calibration_shift", group={"sex": "m"}).value == pytest.approx(0.05)
    assert judge(Gate("calibration_shift", low=-0.02, high=0.02), made).verdict == "pass"
    assert judge(Gate("calibration_shift", low=-0.02, high=0.02, each_group=True), made).verdict == "fail"
    # Bonferroni: two groups at .95 are .975 each.
    assert made.find("calibration_shift", group={"sex": "f"}).level == pytest.approx(0.975)


def test_of_three_classes_every_class_and_the_largest_shift_count() -> None:
    task = Classify("y", ("a", "b", "c"))
    cohort = COHORT.with_columns(
        {"y": pl.Series(RNG.choice(["a", "b", "c"], N))}, [Field("y", "category", ("target",))]
    )
    q = RNG.dirichlet([2, 2, 2], N)
    p = 0.9 * q + [[0.1, 0, 0]]
    made = Compression()(predictions(p, task), cohort, task=task, seed=0, reference={ORIGINAL: predictions(q, task)})
    assert made.find("auroc_change") is None
    assert made.find("probability_shift").value == pytest.approx(np.abs(p - q).max(axis=1).mean())
    for k, label in enumerate(task.classes):
        assert made.find("calibration_shift", at={"class": label}).value == pytest.approx((p - q)[:, k].mean())


def test_a_group_of_few_is_refused_and_no_original_is_an_error() -> None:
    few = COHORT.with_columns(
        {"sex": pl.Series(["x"] * 5 + ["m"] * (N - 5))}, [Field("sex", "category", ("sensitive",))]
    )
    made = Compression("sex")(predictions(Q), few, task=TASK, seed=0, reference={ORIGINAL: predictions(Q)})
    refused = made.find("calibration_shift", group={"sex": "x"})
    assert refused.value is None and refused.why_not == "why_too_few_subjects"
    with pytest.raises(DataError, match="original"):
        Compression()(predictions(Q), COHORT, task=TASK, seed=0, reference={})
